package cloudlet.standin;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The grid-mapfile: {@code "DN" account[,account...]} a line, read anew for every request. */
final class GridMap {
    private static final Pattern LINE =
            Pattern.compile("\\s*(?:\"((?:[^\"\\\\]|\\\\.)*)\"|(\\S+))\\s+(\\S+)\\s*");

    private final Path file;

    GridMap(String file) {
        this.file = Path.of(file);
    }

    /**
     * The first account of {@code dn}, or null when no line maps it.
     *
     * @throws IOException when the file cannot be read
     */
    String account(String dn) throws IOException {
        String wanted = normalize(dn);
        for (String line : Files.readAllLines(file, StandardCharsets.UTF_8)) {
            Matcher match = LINE.matcher(line);
            if (line.strip().startsWith("#") || !match.matches()) {
                continue;
            }
            String found = match.group(1) == null ? match.group(2) : match.group(1);
            if (normalize(found.replaceAll("\\\\(.)", "$1")).equals(wanted)) {
                return match.group(3).split(",")[0];
            }
        }
        return null;
    }

    /** The two spellings of e-mail and user id in DNs mean the same. */
    private static String normalize(String dn) {
        return dn.replaceAll("(?i)/(?:Email|E|emailAddress)=", "/emailAddress=")
                .replaceAll("(?i)/(?:UID|USERID)=", "/UID=");
    }
}
