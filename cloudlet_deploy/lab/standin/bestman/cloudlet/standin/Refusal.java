package cloudlet.standin;

/** An SRM status other than success, for one file or a whole request. */
final class Refusal extends Exception {
    private static final long serialVersionUID = 1L;
    final String code;

    Refusal(String code, String explanation) {
        super(explanation);
        this.code = code;
    }

    Bean status() {
        return Bean.status(code, getMessage());
    }
}
