package cloudlet.standin;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** srmMkdir, srmRmdir, srmRm. */
final class Directories {
    private final Surls surls;
    private final Storage storage;

    Directories(Surls surls, Storage storage) {
        this.surls = surls;
        this.storage = storage;
    }

    Bean make(Soap.Argument request, String account) throws Refusal {
        Path path = surls.path(request.text("SURL", ""));
        try {
            storage.makeDirectory(account, path);
        } catch (IOException e) {
            throw FileFaults.refusal(path, e);
        }
        return done("srmMkdirResponse");
    }

    Bean remove(Soap.Argument request, String account) throws Refusal {
        if (request.flag("recursive")) {
            throw new Refusal("SRM_NOT_SUPPORTED", "recursive srmRmdir is not supported");
        }
        Path path = surls.path(request.text("SURL", ""));
        try {
            storage.removeDirectory(account, path);
        } catch (IOException e) {
            throw FileFaults.refusal(path, e);
        }
        return done("srmRmdirResponse");
    }

    Bean removeFiles(Soap.Argument request, String account) throws Refusal {
        Soap.Argument wanted = request.get("arrayOfSURLs");
        List<Soap.Argument> urls = wanted == null ? List.of() : wanted.all("urlArray");
        if (urls.isEmpty()) {
            throw new Refusal("SRM_INVALID_REQUEST", "arrayOfSURLs is empty");
        }
        Tally tally = new Tally();
        List<Bean> statuses = new ArrayList<>();
        for (Soap.Argument url : urls) {
            Bean status = Bean.status("SRM_SUCCESS", null);
            try {
                removeFile(surls.path(url.text()), account);
                tally.good();
            } catch (Refusal e) {
                status = e.status();
                tally.bad(e);
            }
            statuses.add(surlStatus(url.text(), status));
        }
        return new Bean("srmRmResponse").with("returnStatus", tally.status())
                .with("arrayOfFileStatuses", surlStatuses(statuses));
    }

    private void removeFile(Path path, String account) throws Refusal {
        try {
            storage.removeFile(account, path);
        } catch (IOException e) {
            throw FileFaults.refusal(path, e);
        }
    }

    private static Bean done(String type) {
        return new Bean(type).with("returnStatus", Bean.status("SRM_SUCCESS", null));
    }

    static Bean surlStatus(String surl, Bean status) {
        return new Bean("TSURLReturnStatus").with("surl", Bean.xsd("anyURI", surl))
                .with("status", status);
    }

    static Bean surlStatuses(List<Bean> statuses) {
        return Bean.array("ArrayOfTSURLReturnStatus", "statusArray", statuses);
    }
}
