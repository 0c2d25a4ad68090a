package cloudlet.standin;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import org.globus.gsi.gssapi.net.impl.GSIGssSocket;
import org.ietf.jgss.GSSException;

/** One client from handshake to close: GSI, then HTTP/1.1 requests one after the other. */
final class Connection implements Runnable {
    private final Door door;
    private final Socket socket;
    private final GsiContext context;
    private final Operations operations;
    private final EventLog log;

    Connection(Door door, Socket socket, GsiContext context, Operations operations,
            EventLog log) {
        this.door = door;
        this.socket = socket;
        this.context = context;
        this.operations = operations;
        this.log = log;
    }

    @Override
    public void run() {
        String peer = String.valueOf(socket.getRemoteSocketAddress());
        try (socket) {
            door.checkpoint();
            GSIGssSocket gsi = new GSIGssSocket(socket, context);
            String dn = handshake(gsi);
            log.debug("connected peer=" + peer + " dn=\"" + dn + "\" " + context.summary());
            serve(gsi, dn);
        } catch (SocketTimeoutException e) {
            log.debug("idle or too slow, closed peer=" + peer);
        } catch (IOException | GSSException e) {
            log.info("connection failed peer=" + peer + " cause=\"" + rootCause(e) + "\"");
        } catch (RuntimeException | OutOfMemoryError e) {
            log.error("connection broken peer=" + peer + " cause=\"" + e + "\"");
        } finally {
            dispose();
        }
    }

    /** The client's DN, proxies stripped, in slash form. */
    private String handshake(GSIGssSocket gsi) throws IOException, GSSException {
        socket.setSoTimeout(Door.HANDSHAKE_MS);
        gsi.setUseClientMode(false);
        gsi.setAuthorization(null);
        gsi.startHandshake();
        socket.setSoTimeout(Door.IDLE_MS);
        return context.getSrcName().toString();
    }

    private void serve(GSIGssSocket gsi, String dn) throws IOException {
        InputStream in = new BufferedInputStream(gsi.getInputStream(), 16_384);
        OutputStream out = gsi.getOutputStream();
        while (true) {
            HttpRequest request;
            try {
                request = HttpRequest.read(in, out);
            } catch (HttpRequest.Bad e) {
                send(out, e.status, "text/plain", e.getMessage() + "\n", false);
                return;
            }
            if (request == null) {
                return;
            }
            door.checkpoint();
            if (!answer(request, out, dn)) {
                return;
            }
        }
    }

    private boolean answer(HttpRequest request, OutputStream out, String dn) throws IOException {
        boolean keep = request.keepAlive;
        if (!request.path.equals("/" + Settings.FACTORY_ID)) {
            send(out, "404 Not Found", "text/plain", "no service at " + request.path + "\n", keep);
        } else if (!request.method.equals("POST")) {
            send(out, "200 OK", "text/plain",
                    Main.NAME + ", not BeStMan: SRM v2.2, SOAP by POST\n", keep);
        } else {
            Soap.Reply reply = operations.call(request.body, dn);
            send(out, reply.fault ? "500 Internal Server Error" : "200 OK",
                    "text/xml;charset=utf-8", reply.xml, keep);
        }
        return keep;
    }

    private static void send(OutputStream out, String status, String type, String body,
            boolean keep) throws IOException {
        byte[] content = body.getBytes(StandardCharsets.UTF_8);
        String head = "HTTP/1.1 " + status + "\r\nContent-Type: " + type + "\r\nContent-Length: "
                + content.length + "\r\nServer: " + Main.NAME.replace(' ', '-')
                + (keep ? "" : "\r\nConnection: close") + "\r\n\r\n";
        out.write(head.getBytes(StandardCharsets.ISO_8859_1));
        out.write(content);
        out.flush();
    }

    private void dispose() {
        try {
            context.dispose();
        } catch (GSSException e) {
            log.debug("context not disposed: " + e.getMessage());
        }
    }

    private static String rootCause(Throwable error) {
        Throwable cause = error;
        while (cause.getCause() != null && cause.getCause() != cause) {
            cause = cause.getCause();
        }
        return cause.toString().replace('\n', ' ');
    }
}
