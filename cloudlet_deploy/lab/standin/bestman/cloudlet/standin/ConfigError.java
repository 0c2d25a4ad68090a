package cloudlet.standin;

/** A setting that keeps the door from starting; the message is the one line the admin sees. */
final class ConfigError extends Exception {
    private static final long serialVersionUID = 1L;

    ConfigError(String message) {
        super(message);
    }
}
