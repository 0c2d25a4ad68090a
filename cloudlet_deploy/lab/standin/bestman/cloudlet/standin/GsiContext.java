package cloudlet.standin;

import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLException;
import org.globus.gsi.GSIConstants;
import org.globus.gsi.TrustedCertificates;
import org.globus.gsi.gssapi.GSSConstants;
import org.globus.gsi.gssapi.GlobusGSSContextImpl;
import org.globus.gsi.gssapi.GlobusGSSCredentialImpl;
import org.globus.gsi.gssapi.GlobusGSSException;
import org.ietf.jgss.GSSException;

/**
 * The accepting side of one GSI handshake, with TLS 1.3 besides 1.2.
 *
 * <p>Debian's jglobus enables TLS 1.2 at most, in a private method that also begins the
 * handshake. So this class lets that method run and then puts a new engine of the same SSL
 * context, trust and signing policies included, in the place of the one it made.
 */
// TrustedCertificates is deprecated, but the only way to give jglobus a directory of one's own.
@SuppressWarnings("deprecation")
final class GsiContext extends GlobusGSSContextImpl {
    private static final String[] PROTOCOLS = {"TLSv1.2", "TLSv1.3"};
    /** A state that jglobus does not know: it initializes itself and then gives up. */
    private static final int NONE = -1;

    GsiContext(GlobusGSSCredentialImpl credential, TrustedCertificates trusted)
            throws GSSException {
        super(null, credential);
        setOption(GSSConstants.GSS_MODE, GSIConstants.MODE_GSI);
        setOption(GSSConstants.REQUIRE_CLIENT_AUTH, Boolean.TRUE);
        setOption(GSSConstants.ACCEPT_NO_CLIENT_CERTS, Boolean.FALSE);
        setOption(GSSConstants.TRUSTED_CERTIFICATES, trusted);
        requestConf(true);
    }

    @Override
    public byte[] acceptSecContext(byte[] token, int offset, int length) throws GSSException {
        if (!conn) {
            prepare();
        }
        return super.acceptSecContext(token, offset, length);
    }

    /** What the log tells of an established context. */
    String summary() throws GSSException {
        return "tls=" + sslEngine.getSession().getProtocol() + " delegated="
                + (getDelegCred() != null);
    }

    private void prepare() throws GSSException {
        int handshake = state;
        state = NONE;
        try {
            super.acceptSecContext(new byte[0], 0, 0);
        } catch (GSSException e) {
            if (!conn || sslContext == null) {
                throw e;
            }
        } finally {
            state = handshake;
        }
        SSLEngine engine = sslContext.createSSLEngine();
        engine.setEnabledProtocols(PROTOCOLS);
        engine.setUseClientMode(false);
        engine.setNeedClientAuth(true);
        try {
            engine.beginHandshake();
        } catch (SSLException e) {
            throw new GlobusGSSException(GSSException.FAILURE, e);
        }
        sslEngine = engine;
    }
}
