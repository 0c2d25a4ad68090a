package cloudlet.standin;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.PrivateKey;
import java.security.cert.X509Certificate;
import java.security.interfaces.RSAKey;
import java.util.Date;
import org.globus.gsi.CredentialException;
import org.globus.gsi.TrustedCertificates;
import org.globus.gsi.X509Credential;
import org.globus.gsi.gssapi.GlobusGSSCredentialImpl;
import org.ietf.jgss.GSSCredential;
import org.ietf.jgss.GSSException;

/** The door's certificate and trust anchors, read once at start. */
// TrustedCertificates is deprecated, but the only way to give jglobus a directory of one's own.
@SuppressWarnings("deprecation")
final class Credentials {
    private final GlobusGSSCredentialImpl credential;
    private final TrustedCertificates trusted;
    final X509Certificate certificate;

    Credentials(Settings settings) throws ConfigError {
        readable(settings.rcFile + ": CertFileName", settings.certFile);
        String key = readable(settings.rcFile + ": KeyFileName", settings.keyFile);
        if (!key.contains("-----BEGIN RSA PRIVATE KEY-----")) {
            String found = key.contains("-----BEGIN PRIVATE KEY-----") ? "a PKCS#8 key"
                    : "no PKCS#1 key";
            throw new ConfigError(settings.keyFile + ": " + found
                    + "; jglobus reads PKCS#1 (BEGIN RSA PRIVATE KEY) only: rewrite it with"
                    + " openssl rsa -traditional");
        }
        PrivateKey privateKey;
        try {
            X509Credential pair = new X509Credential(settings.certFile, settings.keyFile);
            certificate = pair.getCertificateChain()[0];
            privateKey = pair.getPrivateKey();
            credential = new GlobusGSSCredentialImpl(pair, GSSCredential.ACCEPT_ONLY);
        } catch (IOException | CredentialException | GSSException
                | RuntimeException e) {
            throw new ConfigError(settings.certFile + ", " + settings.keyFile
                    + ": cannot load the pair: " + e.getMessage());
        }
        if (!(certificate.getPublicKey() instanceof RSAKey) || !(privateKey instanceof RSAKey)
                || !((RSAKey) certificate.getPublicKey()).getModulus()
                        .equals(((RSAKey) privateKey).getModulus())) {
            throw new ConfigError(settings.keyFile + ": is not the key of " + settings.certFile);
        }
        if (certificate.getNotAfter().before(new Date())) {
            throw new ConfigError(settings.certFile + ": expired " + certificate.getNotAfter());
        }
        trusted = TrustedCertificates.load(settings.caDirectory);
        if (trusted == null || trusted.getCertificates().length == 0) {
            throw new ConfigError(settings.caDirectory + ": no CA certificate there");
        }
    }

    private static String readable(String where, String file) throws ConfigError {
        try {
            return Files.readString(Path.of(file), StandardCharsets.ISO_8859_1);
        } catch (IOException e) {
            throw new ConfigError(where + ": cannot read " + file + ": " + e);
        }
    }

    /** A context for one connection: GSI mode, encrypted, the client must show a certificate. */
    GsiContext context() throws GSSException {
        return new GsiContext(credential, trusted);
    }
}
