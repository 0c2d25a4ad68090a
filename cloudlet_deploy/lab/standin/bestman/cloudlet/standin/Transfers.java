package cloudlet.standin;

import java.io.IOException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * srmPrepareToGet and srmPrepareToPut: a SURL becomes a transfer URL on the next server of the
 * list. Requests are done when they are answered; the tokens serve clients that ask again.
 */
final class Transfers {
    private static final int MAX_TOKENS = 10_000;
    private static final int PIN_SECONDS = 3600;

    private final List<String> servers;
    private final Surls surls;
    private final Storage storage;
    private final AtomicInteger next = new AtomicInteger();
    private final Map<String, Request> requests = new LinkedHashMap<>() {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Request> eldest) {
            return size() > MAX_TOKENS;
        }
    };

    private static final class Request {
        final Bean status;
        final Bean files;

        Request(Bean status, Bean files) {
            this.status = status;
            this.files = files;
        }
    }

    Transfers(Settings settings, Surls surls, Storage storage) {
        servers = settings.transferServers.isEmpty() ? List.of("gsiftp://" + settings.hostName)
                : settings.transferServers;
        this.surls = surls;
        this.storage = storage;
    }

    Bean get(Soap.Argument request, String account) throws Refusal {
        checkProtocols(request);
        Tally tally = new Tally();
        List<Bean> files = new ArrayList<>();
        for (Soap.Argument file : fileRequests(request)) {
            String surl = file.text("sourceSURL", "");
            Bean bean = new Bean("TGetRequestFileStatus")
                    .with("sourceSURL", Bean.xsd("anyURI", surl));
            try {
                Path path = surls.path(surl);
                Storage.Entry entry = existing(path, account);
                bean.with("fileSize", Bean.xsd("unsignedLong", entry.size))
                        .with("status", Bean.status("SRM_FILE_PINNED", null))
                        .with("remainingPinTime", Bean.xsd("int", PIN_SECONDS))
                        .with("transferURL", turl(path));
                tally.good();
            } catch (Refusal e) {
                bean.with("status", e.status());
                tally.bad(e);
            }
            files.add(bean);
        }
        return remember("srmPrepareToGetResponse", tally,
                Bean.array("ArrayOfTGetRequestFileStatus", "statusArray", files));
    }

    Bean put(Soap.Argument request, String account) throws Refusal {
        checkProtocols(request);
        boolean overwrite = request.text("overwriteOption", "NEVER").equals("ALWAYS");
        Tally tally = new Tally();
        List<Bean> files = new ArrayList<>();
        for (Soap.Argument file : fileRequests(request)) {
            String surl = file.text("targetSURL", "");
            Bean bean = new Bean("TPutRequestFileStatus").with("SURL", Bean.xsd("anyURI", surl));
            try {
                Path path = surls.path(surl);
                checkTarget(path, account, overwrite);
                bean.with("status", Bean.status("SRM_SPACE_AVAILABLE", null))
                        .with("remainingPinLifetime", Bean.xsd("int", PIN_SECONDS))
                        .with("remainingFileLifetime", Bean.xsd("int", -1))
                        .with("transferURL", turl(path));
                tally.good();
            } catch (Refusal e) {
                bean.with("status", e.status());
                tally.bad(e);
            }
            files.add(bean);
        }
        return remember("srmPrepareToPutResponse", tally,
                Bean.array("ArrayOfTPutRequestFileStatus", "statusArray", files));
    }

    Bean statusOfGet(Soap.Argument request, String account) throws Refusal {
        Request known = known(request);
        return new Bean("srmStatusOfGetRequestResponse").with("returnStatus", known.status)
                .with("arrayOfFileStatuses", known.files);
    }

    Bean statusOfPut(Soap.Argument request, String account) throws Refusal {
        Request known = known(request);
        return new Bean("srmStatusOfPutRequestResponse").with("returnStatus", known.status)
                .with("arrayOfFileStatuses", known.files);
    }

    Bean release(Soap.Argument request, String account) throws Refusal {
        return forEachSurl("srmReleaseFilesResponse", request, account, false);
    }

    Bean putDone(Soap.Argument request, String account) throws Refusal {
        known(request);
        return forEachSurl("srmPutDoneResponse", request, account, true);
    }

    Bean abort(Soap.Argument request, String account) throws Refusal {
        known(request);
        return new Bean("srmAbortRequestResponse")
                .with("returnStatus", Bean.status("SRM_SUCCESS", null));
    }

    Bean abortFiles(Soap.Argument request, String account) throws Refusal {
        known(request);
        return forEachSurl("srmAbortFilesResponse", request, account, false);
    }

    Bean protocols(Soap.Argument request, String account) {
        List<Bean> names = new ArrayList<>();
        servers.stream().map(server -> server.replaceFirst(":.*", "")).distinct().forEach(
                name -> names.add(new Bean("TSupportedTransferProtocol")
                        .with("transferProtocol", name)));
        return new Bean("srmGetTransferProtocolsResponse")
                .with("returnStatus", Bean.status("SRM_SUCCESS", null))
                .with("protocolInfo", Bean.array("ArrayOfTSupportedTransferProtocol",
                        "protocolArray", names));
    }

    private Bean forEachSurl(String type, Soap.Argument request, String account,
            boolean mustExist) throws Refusal {
        Tally tally = new Tally();
        List<Bean> statuses = new ArrayList<>();
        Soap.Argument wanted = request.get("arrayOfSURLs");
        for (Soap.Argument url : wanted == null ? List.<Soap.Argument>of()
                : wanted.all("urlArray")) {
            Bean status = Bean.status("SRM_SUCCESS", null);
            try {
                Path path = surls.path(url.text());
                if (mustExist) {
                    existing(path, account);
                }
                tally.good();
            } catch (Refusal e) {
                status = e.status();
                tally.bad(e);
            }
            statuses.add(Directories.surlStatus(url.text(), status));
        }
        return new Bean(type).with("returnStatus", tally.status()).with("arrayOfFileStatuses",
                statuses.isEmpty() ? null : Directories.surlStatuses(statuses));
    }

    private void checkProtocols(Soap.Argument request) throws Refusal {
        Soap.Argument parameters = request.get("transferParameters");
        Soap.Argument list = parameters == null ? null
                : parameters.get("arrayOfTransferProtocols");
        if (list == null) {
            return;
        }
        List<String> wanted = new ArrayList<>();
        list.all("stringArray").forEach(item -> wanted.add(item.text()));
        if (!wanted.isEmpty() && servers.stream()
                .noneMatch(server -> wanted.contains(server.replaceFirst(":.*", "")))) {
            throw new Refusal("SRM_NOT_SUPPORTED",
                    "none of the protocols " + wanted + "; this door has " + servers);
        }
    }

    private static List<Soap.Argument> fileRequests(Soap.Argument request) throws Refusal {
        Soap.Argument wanted = request.get("arrayOfFileRequests");
        List<Soap.Argument> files = wanted == null ? List.of() : wanted.all("requestArray");
        if (files.isEmpty()) {
            throw new Refusal("SRM_INVALID_REQUEST", "arrayOfFileRequests is empty");
        }
        return files;
    }

    private Storage.Entry existing(Path path, String account) throws Refusal {
        try {
            Storage.Entry entry = storage.stat(account, path);
            if (entry.isDirectory()) {
                throw new Refusal("SRM_INVALID_PATH", path + " is a directory");
            }
            return entry;
        } catch (IOException e) {
            throw FileFaults.refusal(path, e);
        }
    }

    private void checkTarget(Path path, String account, boolean overwrite) throws Refusal {
        try {
            storage.stat(account, path.getParent() == null ? path : path.getParent());
        } catch (IOException e) {
            throw FileFaults.refusal(path.getParent(), e);
        }
        try {
            if (storage.stat(account, path).isDirectory() || !overwrite) {
                throw new Refusal("SRM_DUPLICATION_ERROR", path + " exists");
            }
        } catch (NoSuchFileException e) {
            // Just what a new file needs.
            return;
        } catch (IOException e) {
            throw FileFaults.refusal(path, e);
        }
    }

    /** Two slashes: GridFTP takes one as relative to the account's home. */
    private Bean.Simple turl(Path path) {
        int index = Math.floorMod(next.getAndIncrement(), servers.size());
        return Bean.xsd("anyURI", servers.get(index) + "/" + path);
    }

    private Bean remember(String type, Tally tally, Bean files) {
        String token = UUID.randomUUID().toString();
        Bean status = tally.status();
        synchronized (requests) {
            requests.put(token, new Request(status, files));
        }
        return new Bean(type).with("returnStatus", status).with("requestToken", token)
                .with("arrayOfFileStatuses", files);
    }

    private Request known(Soap.Argument request) throws Refusal {
        String token = request.text("requestToken", "");
        synchronized (requests) {
            Request known = requests.get(token);
            if (known == null) {
                throw new Refusal("SRM_INVALID_REQUEST", "unknown request token " + token);
            }
            return known;
        }
    }
}
