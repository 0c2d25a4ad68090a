package gov.lbl.srm.server;

/**
 * The main class by the name that start scripts and units use.
 *
 * <p>This is the cloudlet-deploy lab stand-in, not BeStMan: only the name is shared, so that a
 * prepared home of either kind is started by the same command.
 */
public final class Server {
    private Server() {}

    /** Starts the door; {@code args[0]} is the rc file. Exits 1 on a fatal configuration error. */
    public static void main(String[] args) {
        cloudlet.standin.Main.run(args);
    }
}
