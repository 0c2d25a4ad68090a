package cloudlet.standin;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Semaphore;

/** What each SRM call does and who may make it. */
final class Operations {
    /** One call of a mapped client. */
    private interface Handler {
        Bean handle(Soap.Argument request, String account) throws Refusal;
    }

    /** The calls of SRM v2.2 that this door does not do. */
    private static final Set<String> UNSUPPORTED = Set.of("srmReserveSpace",
            "srmStatusOfReserveSpaceRequest", "srmReleaseSpace", "srmUpdateSpace",
            "srmStatusOfUpdateSpaceRequest", "srmGetSpaceMetaData", "srmChangeSpaceForFiles",
            "srmStatusOfChangeSpaceForFilesRequest", "srmExtendFileLifeTimeInSpace",
            "srmPurgeFromSpace", "srmGetSpaceTokens", "srmSetPermission", "srmCheckPermission",
            "srmGetPermission", "srmStatusOfLsRequest", "srmMv", "srmBringOnline",
            "srmStatusOfBringOnlineRequest", "srmCopy", "srmStatusOfCopyRequest",
            "srmSuspendRequest", "srmResumeRequest", "srmGetRequestSummary",
            "srmExtendFileLifeTime", "srmGetRequestTokens");

    private final Settings settings;
    private final EventLog log;
    private final GridMap gridMap;
    private final Map<String, Handler> handlers;
    /** Null when fsConcurrency is 0, which means no limit. */
    private final Semaphore fileSystem;

    Operations(Settings settings, EventLog log) throws ConfigError {
        this.settings = settings;
        this.log = log;
        gridMap = new GridMap(settings.gridMapFile);
        fileSystem = settings.fsConcurrency == 0 ? null : new Semaphore(settings.fsConcurrency);
        Surls surls = new Surls(settings);
        Storage storage = SudoStorage.of(settings);
        Listing listing = new Listing(surls, storage);
        Directories directories = new Directories(surls, storage);
        Transfers transfers = new Transfers(settings, surls, storage);
        handlers = Map.ofEntries(Map.entry("srmLs", listing::list),
                Map.entry("srmMkdir", directories::make),
                Map.entry("srmRmdir", directories::remove),
                Map.entry("srmRm", directories::removeFiles),
                Map.entry("srmPrepareToGet", transfers::get),
                Map.entry("srmStatusOfGetRequest", transfers::statusOfGet),
                Map.entry("srmReleaseFiles", transfers::release),
                Map.entry("srmPrepareToPut", transfers::put),
                Map.entry("srmStatusOfPutRequest", transfers::statusOfPut),
                Map.entry("srmPutDone", transfers::putDone),
                Map.entry("srmAbortRequest", transfers::abort),
                Map.entry("srmAbortFiles", transfers::abortFiles),
                Map.entry("srmGetTransferProtocols", transfers::protocols));
    }

    /** Answers one message from the client {@code dn}. */
    Soap.Reply call(byte[] message, String dn) {
        Soap.Call call;
        try {
            call = Soap.Call.parse(message);
        } catch (Soap.Malformed e) {
            log.info("malformed call dn=\"" + dn + "\" cause=\"" + e.getMessage() + "\"");
            return Soap.fault("Client", e.getMessage());
        }
        String operation = call.operation;
        if (operation.equals("srmPing")) {
            return reply(operation, dn, "", ping(dn));
        }
        Handler handler = handlers.get(operation);
        if (handler == null && !UNSUPPORTED.contains(operation)) {
            return Soap.fault("Client", "no such operation: " + operation);
        }
        try {
            if (handler == null) {
                throw new Refusal("SRM_NOT_SUPPORTED",
                        operation + " is not supported by the " + Main.NAME);
            }
            return reply(operation, dn, "SRM_SUCCESS", guarded(handler, call.request, dn));
        } catch (Refusal e) {
            return reply(operation, dn, e.code + " " + e.getMessage(),
                    new Bean(operation + "Response").with("returnStatus", e.status()));
        }
    }

    private Bean guarded(Handler handler, Soap.Argument request, String dn) throws Refusal {
        if (fileSystem != null) {
            fileSystem.acquireUninterruptibly();
        }
        try {
            return handler.handle(request, account(dn));
        } finally {
            if (fileSystem != null) {
                fileSystem.release();
            }
        }
    }

    private String account(String dn) throws Refusal {
        String account;
        try {
            account = gridMap.account(dn);
        } catch (IOException e) {
            throw new Refusal("SRM_INTERNAL_ERROR",
                    "cannot read the gridmap " + settings.gridMapFile + ": " + e);
        }
        if (account == null) {
            throw new Refusal("SRM_AUTHORIZATION_FAILURE", "the gridmap " + settings.gridMapFile
                    + " maps \"" + dn + "\" to no account");
        }
        return account;
    }

    /** Any client with a trusted certificate gets this, mapped or not. */
    private Bean ping(String dn) {
        List<Bean> info = new ArrayList<>();
        info.add(pair("backend_type", "stand-in, not BeStMan"));
        info.add(pair("backend_version", Main.NAME));
        info.add(pair("fsConcurrency", Integer.toString(settings.fsConcurrency)));
        info.add(pair("clientDN", dn));
        for (int i = 0; i < settings.transferServers.size(); i++) {
            info.add(pair("transferServer[" + i + "]", settings.transferServers.get(i)));
        }
        return new Bean("srmPingResponse").with("versionInfo", "v2.2")
                .with("otherInfo", Bean.array("ArrayOfTExtraInfo", "extraInfoArray", info));
    }

    private static Bean pair(String key, String value) {
        return new Bean("TExtraInfo").with("key", key).with("value", value);
    }

    private Soap.Reply reply(String operation, String dn, String outcome, Bean response) {
        if (log.shows(EventLog.Level.INFO)) {
            log.info("call=" + operation + " dn=\"" + dn + "\" status=\"" + outcome + "\"");
        }
        return new Soap.Reply(Encoder.encode(operation, response), false);
    }
}
