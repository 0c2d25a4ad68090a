package cloudlet.standin;

import java.io.IOException;

/** Reads the settings, opens the door and waits; every fatal error is one line and exit code 1. */
public final class Main {
    /** What the stand-in calls itself in logs, answers and headers. */
    static final String NAME = "cloudlet-deploy lab stand-in";

    private Main() {}

    /** Never returns normally before the door is closed. */
    public static void run(String[] args) {
        System.err.println("stand-in, not BeStMan: " + NAME + " on Java "
                + System.getProperty("java.version"));
        try {
            if (args.length != 1) {
                throw new ConfigError("one argument wanted, the rc file; got " + args.length);
            }
            Settings settings = Settings.load(args[0]);
            EventLog log = new EventLog(settings);
            Door door = new Door(settings, log);
            door.open();
        } catch (ConfigError e) {
            fatal(e.getMessage());
        } catch (IOException | RuntimeException e) {
            fatal(e.toString());
        } catch (OutOfMemoryError e) {
            fatal("no thread or memory left at start: " + e.getMessage());
        }
    }

    static void fatal(String message) {
        System.err.println("stand-in: fatal: " + message.replace('\n', ' '));
        System.exit(1);
    }
}
