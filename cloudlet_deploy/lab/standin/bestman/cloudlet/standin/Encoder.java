package cloudlet.standin;

import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.Map;
import java.util.Queue;

/**
 * Writes a reply as Axis does with multiRefs on: the body holds one reference, every bean,
 * enumeration, number and URI follows as a {@code multiRef} of its own, and equal enumeration
 * values share one. A client that does not resolve references reads nothing.
 */
final class Encoder {
    private final StringBuilder xml = new StringBuilder(4096);
    private final Queue<Object> queue = new ArrayDeque<>();
    private final Map<Object, Integer> ids = new IdentityHashMap<>();
    private final Map<String, Bean.Simple> shared = new HashMap<>();

    private Encoder() {}

    /** The envelope that answers {@code operation} with {@code response}. */
    static String encode(String operation, Bean response) {
        return new Encoder().envelope(operation, response);
    }

    private String envelope(String operation, Bean response) {
        String name = operation + "Response";
        xml.append("<?xml version=\"1.0\" encoding=\"utf-8\"?><soapenv:Envelope xmlns:soapenv=\"")
                .append(Soap.ENVELOPE)
                .append("\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\"")
                .append(" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">")
                .append("<soapenv:Body><ns1:").append(name).append(" soapenv:encodingStyle=\"")
                .append(Soap.ENCODING).append("\" xmlns:ns1=\"").append(Soap.SRM).append("\">");
        reference(name, response);
        xml.append("</ns1:").append(name).append('>');
        for (Object value = queue.poll(); value != null; value = queue.poll()) {
            multiRef(value);
        }
        return xml.append("</soapenv:Body></soapenv:Envelope>").toString();
    }

    private void reference(String name, Object value) {
        Object target = value;
        if (value instanceof Bean.Simple && ((Bean.Simple) value).type.startsWith("srm:")) {
            Bean.Simple simple = (Bean.Simple) value;
            target = shared.computeIfAbsent(simple.type + simple.text, key -> simple);
        }
        Integer id = ids.get(target);
        if (id == null) {
            id = ids.size();
            ids.put(target, id);
            queue.add(target);
        }
        xml.append('<').append(name).append(" href=\"#id").append(id).append("\"/>");
    }

    private void multiRef(Object value) {
        String type = value instanceof Bean ? "srm:" + ((Bean) value).type
                : ((Bean.Simple) value).type;
        xml.append("<multiRef id=\"id").append(ids.get(value))
                .append("\" soapenc:root=\"0\" soapenv:encodingStyle=\"").append(Soap.ENCODING)
                .append("\" xsi:type=\"").append(type).append("\" xmlns:soapenc=\"")
                .append(Soap.ENCODING).append("\" xmlns:srm=\"").append(Soap.SRM).append("\">");
        if (value instanceof Bean) {
            for (Bean.Field field : ((Bean) value).fields) {
                field(field);
            }
        } else {
            escape(xml, ((Bean.Simple) value).text);
        }
        xml.append("</multiRef>");
    }

    private void field(Bean.Field field) {
        if (field.value instanceof String) {
            inline(field.name, "xsd:string", (String) field.value);
        } else if (field.value instanceof Bean.Simple
                && ((Bean.Simple) field.value).type.equals("xsd:dateTime")) {
            inline(field.name, "xsd:dateTime", ((Bean.Simple) field.value).text);
        } else {
            reference(field.name, field.value);
        }
    }

    /** Axis takes strings and times for primitive and never makes a multiRef of them. */
    private void inline(String name, String type, String text) {
        xml.append('<').append(name).append(" xsi:type=\"").append(type).append("\">");
        escape(xml, text);
        xml.append("</").append(name).append('>');
    }

    /** Appends text with markup escaped; characters that XML 1.0 forbids become '?'. */
    static void escape(StringBuilder xml, String text) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            switch (c) {
                case '<':
                    xml.append("&lt;");
                    break;
                case '>':
                    xml.append("&gt;");
                    break;
                case '&':
                    xml.append("&amp;");
                    break;
                case '"':
                    xml.append("&quot;");
                    break;
                default:
                    xml.append(c < ' ' && c != '\n' && c != '\t' || c > '\uFFFD' ? '?' : c);
            }
        }
    }
}
