package cloudlet.standin;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** Every step as the mapped account, by sudo and the coreutils that sudoers permits. */
final class SudoStorage implements Storage {
    private final List<String> sudo;
    private final Storage listings;

    private SudoStorage(List<String> sudo, boolean sudoOnLs) {
        this.sudo = sudo;
        this.listings = sudoOnLs ? null : new DirectStorage();
    }

    /** The storage that the settings ask for. A sudo that says anything at all is fatal. */
    static Storage of(Settings settings) throws ConfigError {
        if (!settings.sudo) {
            return new DirectStorage();
        }
        List<String> command = Arrays.asList(settings.sudoCommand.split("\\s+"));
        List<String> probe = new ArrayList<>(command);
        probe.addAll(List.of("-v", "-S"));
        String said;
        try {
            said = run(probe).error;
        } catch (IOException e) {
            said = e.getMessage();
        }
        if (!said.isBlank()) {
            throw new ConfigError(settings.rcFile + ": accessFileSysViaSudo=true, but "
                    + String.join(" ", probe) + " says: " + said.strip());
        }
        return new SudoStorage(command, settings.sudoOnLs);
    }

    @Override
    public Entry stat(String account, Path path) throws IOException {
        return listings != null ? listings.stat(account, path)
                : parse(as(account, path, "/bin/ls", "-ldL", "--time-style=+%s")).get(0);
    }

    @Override
    public List<Entry> list(String account, Path directory) throws IOException {
        return listings != null ? listings.list(account, directory)
                : parse(as(account, directory, "/bin/ls", "-lAL", "--time-style=+%s"));
    }

    @Override
    public void makeDirectory(String account, Path path) throws IOException {
        as(account, path, "/bin/mkdir");
    }

    @Override
    public void removeDirectory(String account, Path path) throws IOException {
        as(account, path, "/bin/rmdir");
    }

    @Override
    public void removeFile(String account, Path path) throws IOException {
        as(account, path, "/bin/rm");
    }

    private String as(String account, Path path, String... command) throws IOException {
        List<String> argv = new ArrayList<>(sudo);
        Collections.addAll(argv, "-n", "-u", account);
        Collections.addAll(argv, command);
        argv.add("--");
        argv.add(path.toString());
        Outcome outcome = run(argv);
        if (outcome.code == 0) {
            return outcome.output;
        }
        throw failure(path.toString(), outcome.error.strip());
    }

    private static IOException failure(String path, String error) {
        if (error.contains("No such file")) {
            return new NoSuchFileException(path);
        }
        if (error.contains("File exists")) {
            return new FileAlreadyExistsException(path);
        }
        if (error.contains("not empty")) {
            return new DirectoryNotEmptyException(path);
        }
        if (error.contains("Permission denied")) {
            return new AccessDeniedException(path);
        }
        return new FileSystemException(path, null, error);
    }

    /** Lines of {@code ls -l}: mode, links, owner, group, size, seconds, name. */
    private static List<Entry> parse(String listing) {
        List<Entry> entries = new ArrayList<>();
        for (String line : listing.split("\n")) {
            String[] f = line.split("\\s+", 7);
            if (f.length < 7 || !f[4].matches("\\d+")) {
                continue;
            }
            String type = f[0].startsWith("d") ? "DIRECTORY"
                    : f[0].startsWith("l") ? "LINK" : "FILE";
            int mode = 0;
            for (int i = 1; i <= 9; i++) {
                mode = mode << 1 | ("-ST".indexOf(f[0].charAt(i)) < 0 ? 1 : 0);
            }
            String name = f[6].replaceFirst("^.*/(?=.)", "");
            entries.add(new Entry(name, type, Long.parseLong(f[4]), Long.parseLong(f[5]), f[2],
                    f[3], mode));
        }
        return entries;
    }

    private static final class Outcome {
        int code;
        String output;
        String error;
    }

    private static Outcome run(List<String> argv) throws IOException {
        ProcessBuilder builder = new ProcessBuilder(argv);
        builder.environment().put("LC_ALL", "C.UTF-8");
        Process process = builder.start();
        process.getOutputStream().close();
        Outcome outcome = new Outcome();
        // The few error lines fit the pipe, so reading them last cannot block the command.
        outcome.output = new String(process.getInputStream().readAllBytes(),
                StandardCharsets.UTF_8);
        outcome.error = new String(process.getErrorStream().readAllBytes(),
                StandardCharsets.UTF_8);
        try {
            outcome.code = process.waitFor();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted");
        }
        return outcome;
    }
}
