package cloudlet.standin;

import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;

/** srmLs: what the SURLs name, level by level. */
final class Listing {
    private static final String[] MODES = {"NONE", "X", "W", "WX", "R", "RX", "RW", "RWX"};
    private static final String ZULU = "T%02d:%02d:%02d.000Z";

    private final Surls surls;
    private final Storage storage;

    Listing(Surls surls, Storage storage) {
        this.surls = surls;
        this.storage = storage;
    }

    /** Offset and count are read by nobody, as in BeStMan2's gateway mode. */
    Bean list(Soap.Argument request, String account) throws Refusal {
        if (request.flag("allLevelRecursive")) {
            throw new Refusal("SRM_NOT_SUPPORTED", "allLevelRecursive is not supported");
        }
        int levels = levels(request.text("numOfLevels", "1"));
        boolean detailed = request.flag("fullDetailedList");
        Soap.Argument wanted = request.get("arrayOfSURLs");
        List<Soap.Argument> urls = wanted == null ? List.of() : wanted.all("urlArray");
        if (urls.isEmpty()) {
            throw new Refusal("SRM_INVALID_REQUEST", "arrayOfSURLs is empty");
        }
        List<Bean> details = new ArrayList<>();
        Tally tally = new Tally();
        for (Soap.Argument url : urls) {
            try {
                details.add(one(url.text(), account, levels, detailed));
                tally.good();
            } catch (Refusal e) {
                details.add(new Bean("TMetaDataPathDetail").with("path", path(url.text()))
                        .with("status", e.status()));
                tally.bad(e);
            }
        }
        return new Bean("srmLsResponse").with("returnStatus", tally.status())
                .with("details", array(details));
    }

    private static int levels(String text) throws Refusal {
        try {
            int levels = Integer.parseInt(text);
            if (levels >= 0) {
                return levels;
            }
        } catch (NumberFormatException e) {
            // Falls through to the one message for both faults.
        }
        throw new Refusal("SRM_INVALID_REQUEST", "numOfLevels=" + text);
    }

    private static String path(String surl) {
        return surl.replaceFirst("^srm://[^/]*(?:/srm/v2/server\\?SFN=)?", "");
    }

    private Bean one(String surl, String account, int levels, boolean detailed) throws Refusal {
        Path path = surls.path(surl);
        try {
            return describe(path, storage.stat(account, path), account, levels, detailed);
        } catch (IOException e) {
            throw FileFaults.refusal(path, e);
        }
    }

    private Bean describe(Path path, Storage.Entry entry, String account, int levels,
            boolean detailed) throws IOException {
        Bean bean = new Bean("TMetaDataPathDetail").with("path", path.toString())
                .with("status", Bean.status("SRM_SUCCESS", null))
                .with("size", Bean.xsd("unsignedLong", entry.isDirectory() ? 0 : entry.size));
        if (detailed) {
            bean.with("lastModificationTime", Bean.xsd("dateTime", time(entry.modified)))
                    .with("fileStorageType", Bean.enumeration("TFileStorageType", "PERMANENT"))
                    .with("fileLocality", Bean.enumeration("TFileLocality", "ONLINE"));
        }
        bean.with("type", Bean.enumeration("TFileType", entry.type));
        if (detailed) {
            bean.with("lifetimeAssigned", Bean.xsd("int", -1))
                    .with("lifetimeLeft", Bean.xsd("int", -1))
                    .with("ownerPermission", new Bean("TUserPermission")
                            .with("userID", entry.owner).with("mode", mode(entry.mode >> 6)))
                    .with("groupPermission", new Bean("TGroupPermission")
                            .with("groupID", entry.group).with("mode", mode(entry.mode >> 3)))
                    .with("otherPermission", mode(entry.mode));
        }
        if (levels > 0 && entry.isDirectory()) {
            List<Bean> children = new ArrayList<>();
            for (Storage.Entry child : storage.list(account, path)) {
                children.add(child(path.resolve(child.name), child, account, levels - 1,
                        detailed));
            }
            bean.with("arrayOfSubPaths", children.isEmpty() ? null : array(children));
        }
        return bean;
    }

    /** A child that cannot be opened spoils its own entry, not the listing. */
    private Bean child(Path path, Storage.Entry entry, String account, int levels,
            boolean detailed) throws IOException {
        try {
            return describe(path, entry, account, levels, detailed);
        } catch (IOException e) {
            return new Bean("TMetaDataPathDetail").with("path", path.toString())
                    .with("status", FileFaults.refusal(path, e).status());
        }
    }

    private static Bean array(List<Bean> details) {
        return Bean.array("ArrayOfTMetaDataPathDetail", "pathDetailArray", details);
    }

    private static Bean.Simple mode(int bits) {
        return Bean.enumeration("TPermissionMode", MODES[bits & 7]);
    }

    private static String time(long seconds) {
        java.time.ZonedDateTime at = Instant.ofEpochSecond(seconds).atZone(java.time.ZoneOffset.UTC);
        return at.toLocalDate()
                + String.format(ZULU, at.getHour(), at.getMinute(), at.getSecond());
    }
}
