package cloudlet.standin;

import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Instant;

/**
 * {@code event.srm.log}: truncated at start, rotated by size, filtered by level.
 *
 * <p>ERROR and CONSOLE lines go to standard error too, so that the journal shows them.
 */
final class EventLog {
    enum Level { ERROR, CONSOLE, INFO, DEBUG }

    private final Level level;
    private final boolean silent;
    private final long maxBytes;
    private final int maxFiles;
    private final Path file;
    private BufferedWriter writer;
    private long written;

    EventLog(Settings settings) throws ConfigError {
        try {
            level = Level.valueOf(settings.eventLogLevel);
        } catch (IllegalArgumentException e) {
            throw new ConfigError(settings.rcFile + ": eventLogLevel=" + settings.eventLogLevel
                    + ": must be ERROR, CONSOLE, INFO or DEBUG");
        }
        silent = settings.silent;
        maxBytes = settings.eventLogBytes;
        maxFiles = settings.eventLogCount;
        file = settings.eventLogDirectory.resolve("event.srm.log");
        if (!settings.noEventLog) {
            try {
                start();
            } catch (IOException e) {
                throw new ConfigError(settings.rcFile + ": EventLogLocation: cannot write " + file
                        + ": " + e);
            }
        }
    }

    void error(String message) {
        log(Level.ERROR, message);
    }

    void console(String message) {
        log(Level.CONSOLE, message);
    }

    void info(String message) {
        log(Level.INFO, message);
    }

    void debug(String message) {
        log(Level.DEBUG, message);
    }

    /** Lets callers spare themselves the making of a message that nobody reads. */
    boolean shows(Level wanted) {
        return writer != null && wanted.compareTo(level) <= 0;
    }

    private void log(Level at, String message) {
        if (at == Level.ERROR || (at == Level.CONSOLE && !silent)) {
            System.err.println("stand-in: " + message);
        }
        if (shows(at)) {
            write(Instant.now() + " level=" + at + " " + message);
        }
    }

    private synchronized void write(String line) {
        try {
            if (written > maxBytes) {
                rotate();
            }
            writer.write(line);
            writer.newLine();
            writer.flush();
            written += line.length() + 1;
        } catch (IOException e) {
            System.err.println("stand-in: cannot write " + file + ": " + e);
        }
    }

    private void start() throws IOException {
        writer = Files.newBufferedWriter(file, StandardCharsets.UTF_8);
        written = 0;
        write("stand-in, not BeStMan: " + Main.NAME);
    }

    private void rotate() throws IOException {
        writer.close();
        for (int i = maxFiles - 1; i > 0; i--) {
            Path from = i == 1 ? file : Path.of(file + "." + (i - 1));
            if (Files.exists(from)) {
                Files.move(from, Path.of(file + "." + i), StandardCopyOption.REPLACE_EXISTING);
            }
        }
        start();
    }
}
