package cloudlet.standin;

/** The request's status from those of its files. */
final class Tally {
    private int good;
    private int bad;
    private Refusal first;

    void good() {
        good++;
    }

    void bad(Refusal refusal) {
        bad++;
        if (first == null) {
            first = refusal;
        }
    }

    Bean status() {
        if (bad == 0) {
            return Bean.status("SRM_SUCCESS", null);
        }
        return Bean.status(good == 0 ? "SRM_FAILURE" : "SRM_PARTIAL_SUCCESS",
                bad + " of " + (good + bad) + " failed, the first: " + first.getMessage());
    }
}
