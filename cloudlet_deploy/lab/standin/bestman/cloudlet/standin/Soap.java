package cloudlet.standin;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import javax.xml.parsers.DocumentBuilder;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.parsers.ParserConfigurationException;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.Node;
import org.w3c.dom.NodeList;
import org.xml.sax.SAXException;

/** SOAP 1.1, rpc/encoded: reads calls, writes replies in the multiRef form that Axis sends. */
final class Soap {
    static final String SRM = "http://srm.lbl.gov/StorageResourceManager";
    static final String ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/";
    static final String ENCODING = "http://schemas.xmlsoap.org/soap/encoding/";

    private Soap() {}

    /** A reply's text, and whether it is a fault (HTTP 500). */
    static final class Reply {
        final String xml;
        final boolean fault;

        Reply(String xml, boolean fault) {
            this.xml = xml;
            this.fault = fault;
        }
    }

    /** A message that is not a call. */
    static final class Malformed extends Exception {
        private static final long serialVersionUID = 1L;

        Malformed(String message) {
            super(message);
        }
    }

    /** A call: the operation's name and its one argument, the request bean. */
    static final class Call {
        final String operation;
        final Argument request;

        private Call(String operation, Argument request) {
            this.operation = operation;
            this.request = request;
        }

        static Call parse(byte[] xml) throws Malformed {
            Document document;
            try {
                document = parser().parse(new ByteArrayInputStream(xml));
            } catch (SAXException | IOException | ParserConfigurationException e) {
                throw new Malformed("not XML: " + e.getMessage());
            }
            Map<String, Element> ids = new HashMap<>();
            collectIds(document.getDocumentElement(), ids);
            Element body = child(document.getDocumentElement(), "Body");
            Element call = body == null ? null : child(body, null);
            if (call == null) {
                throw new Malformed("no call in the SOAP body");
            }
            Element request = child(call, null);
            return new Call(call.getLocalName(),
                    new Argument(request == null ? call : request, ids));
        }
    }

    /** An element of a call with its references resolved. */
    static final class Argument {
        private final Element element;
        private final Map<String, Element> ids;

        private Argument(Element element, Map<String, Element> ids) {
            String href = element.getAttribute("href");
            Element target = href.startsWith("#") ? ids.get(href.substring(1)) : null;
            this.element = target == null ? element : target;
            this.ids = ids;
        }

        /** The first child of this name, or null when absent or nil. */
        Argument get(String name) {
            Element found = child(element, name);
            return found == null || nil(found) ? null : new Argument(found, ids);
        }

        /** All children of this name. */
        java.util.List<Argument> all(String name) {
            java.util.List<Argument> found = new java.util.ArrayList<>();
            for (Node n = element.getFirstChild(); n != null; n = n.getNextSibling()) {
                if (n instanceof Element && name.equals(n.getLocalName()) && !nil((Element) n)) {
                    found.add(new Argument((Element) n, ids));
                }
            }
            return found;
        }

        /** The text of the child of this name, or {@code fallback}. */
        String text(String name, String fallback) {
            Argument found = get(name);
            return found == null ? fallback : found.text();
        }

        String text() {
            return element.getTextContent().strip();
        }

        boolean flag(String name) {
            String value = text(name, "false");
            return value.equals("true") || value.equals("1");
        }
    }

    static Reply fault(String code, String reason) {
        StringBuilder xml = new StringBuilder(512);
        xml.append("<?xml version=\"1.0\" encoding=\"utf-8\"?><soapenv:Envelope xmlns:soapenv=\"")
                .append(ENVELOPE).append("\"><soapenv:Body><soapenv:Fault><faultcode>soapenv:")
                .append(code).append("</faultcode><faultstring>");
        Encoder.escape(xml, reason);
        xml.append("</faultstring></soapenv:Fault></soapenv:Body></soapenv:Envelope>");
        return new Reply(xml.toString(), true);
    }

    private static DocumentBuilder parser() throws ParserConfigurationException {
        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        factory.setNamespaceAware(true);
        // SOAP forbids a DTD, and one could make the parser read files or the network.
        factory.setFeature("http://apache.org/xml/features/disallow-doctype-decl", true);
        DocumentBuilder parser = factory.newDocumentBuilder();
        parser.setErrorHandler(null);
        return parser;
    }

    private static void collectIds(Element element, Map<String, Element> ids) {
        if (!element.getAttribute("id").isEmpty()) {
            ids.put(element.getAttribute("id"), element);
        }
        NodeList children = element.getChildNodes();
        for (int i = 0; i < children.getLength(); i++) {
            if (children.item(i) instanceof Element) {
                collectIds((Element) children.item(i), ids);
            }
        }
    }

    private static Element child(Element parent, String name) {
        for (Node n = parent.getFirstChild(); n != null; n = n.getNextSibling()) {
            if (n instanceof Element && (name == null || name.equals(n.getLocalName()))) {
                return (Element) n;
            }
        }
        return null;
    }

    private static boolean nil(Element element) {
        String nil = element.getAttributeNS("http://www.w3.org/2001/XMLSchema-instance", "nil");
        return nil.equals("true") || nil.equals("1");
    }
}
