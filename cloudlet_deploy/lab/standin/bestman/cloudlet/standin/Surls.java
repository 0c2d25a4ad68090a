package cloudlet.standin;

import java.io.IOException;
import java.net.InetAddress;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** From a SURL to a path that this door may touch. */
final class Surls {
    private static final Pattern SURL = Pattern.compile(
            "srm://(\\[[^\\]]+\\]|[^/:?]+)(?::(\\d+))?(?:/srm/v2/server\\?SFN=)?(/.*)?");

    private final Settings settings;

    Surls(Settings settings) {
        this.settings = settings;
    }

    /**
     * The absolute, normalized path that {@code surl} names.
     *
     * @throws Refusal SRM_INVALID_PATH for another host or no path at all,
     *     SRM_AUTHORIZATION_FAILURE for a path outside the allowed or inside the blocked ones
     */
    Path path(String surl) throws Refusal {
        Matcher match = SURL.matcher(surl);
        if (!match.matches() || match.group(3) == null) {
            throw new Refusal("SRM_INVALID_PATH", surl + " is not srm://" + settings.hostName + ":"
                    + settings.securePort + "/" + Settings.FACTORY_ID + "?SFN=/PATH");
        }
        if (!isThisHost(match.group(1))) {
            throw new Refusal("SRM_INVALID_PATH",
                    surl + " names another host than " + settings.hostName);
        }
        Path path;
        try {
            path = Path.of(match.group(3).replaceAll("//+", "/")).normalize();
        } catch (InvalidPathException e) {
            throw new Refusal("SRM_INVALID_PATH", surl + ": " + e.getReason());
        }
        permit(path);
        return path;
    }

    private boolean isThisHost(String host) {
        if (host.equalsIgnoreCase(settings.hostName)) {
            return true;
        }
        if (!host.matches("[0-9.]+|\\[.*\\]")) {
            return false;
        }
        try {
            // Only literal addresses come here: a client's word starts no name lookup of ours.
            return InetAddress.getByName(host).equals(InetAddress.getByName(settings.hostName));
        } catch (IOException e) {
            return false;
        }
    }

    private void permit(Path path) throws Refusal {
        String real = canonical(path);
        List<String> allowed = settings.allowedPaths;
        if (!allowed.isEmpty()
                && allowed.stream().noneMatch(a -> real.equals(a) || real.startsWith(a + "/"))) {
            throw new Refusal("SRM_AUTHORIZATION_FAILURE",
                    path + " is not below localPathListAllowed");
        }
        for (String blocked : settings.blockedPaths) {
            // A plain prefix test, as BeStMan2 makes it: /var blocks /variant too. The root
            // blocks itself and the files in it, not all there is.
            boolean hit = blocked.equals("/")
                    ? real.equals("/") || Path.of(real).getParent().equals(Path.of("/"))
                            && !Files.isDirectory(Path.of(real))
                    : real.startsWith(blocked);
            if (hit) {
                throw new Refusal("SRM_AUTHORIZATION_FAILURE",
                        path + " is blocked by localPathListToBlock (" + blocked + ")");
            }
        }
    }

    /** Symbolic links resolved as far as the path exists, so that none leads out. */
    private static String canonical(Path path) {
        try {
            return path.toFile().getCanonicalPath();
        } catch (IOException e) {
            return path.toString();
        }
    }
}
