package cloudlet.standin;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/** One HTTP/1.0 or 1.1 request, body included, by length or chunks. */
final class HttpRequest {
    private static final int MAX_HEAD = 16_384;
    private static final int MAX_BODY = 16_777_216;

    final String method;
    final String path;
    final boolean keepAlive;
    final byte[] body;

    private HttpRequest(String method, String path, boolean keepAlive, byte[] body) {
        this.method = method;
        this.path = path;
        this.keepAlive = keepAlive;
        this.body = body;
    }

    /** A request that cannot be served; the status says why. */
    static final class Bad extends Exception {
        private static final long serialVersionUID = 1L;
        final String status;

        Bad(String status, String message) {
            super(message);
            this.status = status;
        }
    }

    /** The next request, or null when the client has closed between two of them. */
    static HttpRequest read(InputStream in, OutputStream out) throws IOException, Bad {
        int[] budget = {MAX_HEAD};
        String first = line(in, budget);
        if (first == null) {
            return null;
        }
        String[] parts = first.split(" ");
        if (parts.length != 3 || !parts[2].startsWith("HTTP/1.")) {
            throw new Bad("400 Bad Request", "not an HTTP/1 request line");
        }
        Map<String, String> headers = headers(in, budget);
        if ("100-continue".equalsIgnoreCase(headers.get("expect"))) {
            out.write("HTTP/1.1 100 Continue\r\n\r\n".getBytes(StandardCharsets.ISO_8859_1));
            out.flush();
        }
        String connection = headers.getOrDefault("connection", "").toLowerCase(Locale.ROOT);
        boolean keep = parts[2].equals("HTTP/1.0") ? connection.contains("keep-alive")
                : !connection.contains("close");
        // gSOAP sends the whole URL in the request line when it thinks of a proxy.
        String path = parts[1].replaceFirst("^[a-z]+://[^/]*", "").replaceFirst("\\?.*$", "");
        return new HttpRequest(parts[0], path, keep, body(in, headers));
    }

    private static Map<String, String> headers(InputStream in, int[] budget)
            throws IOException, Bad {
        Map<String, String> headers = new HashMap<>();
        while (true) {
            String line = line(in, budget);
            if (line == null) {
                throw new EOFException("closed within the header");
            }
            if (line.isEmpty()) {
                return headers;
            }
            int colon = line.indexOf(':');
            if (colon < 1) {
                throw new Bad("400 Bad Request", "header line without a colon");
            }
            headers.put(line.substring(0, colon).strip().toLowerCase(Locale.ROOT),
                    line.substring(colon + 1).strip());
        }
    }

    private static byte[] body(InputStream in, Map<String, String> headers)
            throws IOException, Bad {
        if ("chunked".equalsIgnoreCase(headers.get("transfer-encoding"))) {
            return chunks(in);
        }
        String length = headers.getOrDefault("content-length", "0");
        try {
            return exactly(in, Integer.parseInt(length));
        } catch (NumberFormatException e) {
            throw new Bad("400 Bad Request", "Content-Length: " + length);
        }
    }

    private static byte[] chunks(InputStream in) throws IOException, Bad {
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        while (true) {
            String size = line(in, new int[] {MAX_HEAD});
            int length;
            try {
                length = Integer.parseInt(String.valueOf(size).split(";")[0].strip(), 16);
            } catch (NumberFormatException e) {
                throw new Bad("400 Bad Request", "chunk size: " + size);
            }
            if (length == 0) {
                int[] budget = {MAX_HEAD};
                String trailer = line(in, budget);
                while (trailer != null && !trailer.isEmpty()) {
                    trailer = line(in, budget);
                }
                return body.toByteArray();
            }
            if (body.size() + (long) length > MAX_BODY) {
                throw new Bad("413 Payload Too Large", "more than " + MAX_BODY + " bytes");
            }
            body.write(exactly(in, length));
            line(in, new int[] {MAX_HEAD});
        }
    }

    private static byte[] exactly(InputStream in, int length) throws IOException, Bad {
        if (length < 0 || length > MAX_BODY) {
            throw new Bad("413 Payload Too Large", "more than " + MAX_BODY + " bytes");
        }
        byte[] content = in.readNBytes(length);
        if (content.length < length) {
            throw new EOFException("closed within the body");
        }
        return content;
    }

    /** One line without its end, null at the end of the stream; {@code budget} bounds a header. */
    private static String line(InputStream in, int[] budget) throws IOException, Bad {
        ByteArrayOutputStream line = new ByteArrayOutputStream(128);
        for (int c = in.read(); c != '\n'; c = in.read()) {
            if (c < 0) {
                return line.size() == 0 ? null : line.toString(StandardCharsets.ISO_8859_1);
            }
            if (--budget[0] < 0) {
                throw new Bad("431 Request Header Fields Too Large",
                        "more than " + MAX_HEAD + " bytes");
            }
            line.write(c);
        }
        return line.toString(StandardCharsets.ISO_8859_1).replaceFirst("\r$", "");
    }
}
