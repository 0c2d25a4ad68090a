package cloudlet.standin;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import javax.xml.parsers.DocumentBuilder;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.parsers.ParserConfigurationException;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;
import org.xml.sax.SAXException;

/** The thread pool's bounds, from the {@code Set} elements of jetty.xml. */
final class ThreadLimits {
    /** What BeStMan2's template writes when nothing is asked for. */
    private static final int DEFAULT_MIN = 10;

    private static final int DEFAULT_MAX = 256;

    final int min;
    final int max;

    private ThreadLimits(int min, int max) {
        this.min = min;
        this.max = max;
    }

    static ThreadLimits load(String file, List<String> notes) throws ConfigError {
        if (!Files.exists(Path.of(file))) {
            notes.add(file + " does not exist: threads " + DEFAULT_MIN + " to " + DEFAULT_MAX);
            return new ThreadLimits(DEFAULT_MIN, DEFAULT_MAX);
        }
        int min = DEFAULT_MIN;
        int max = DEFAULT_MAX;
        try {
            NodeList sets = parser().parse(Path.of(file).toFile()).getElementsByTagName("Set");
            for (int i = 0; i < sets.getLength(); i++) {
                Element set = (Element) sets.item(i);
                String name = set.getAttribute("name");
                if (name.equals("minThreads")) {
                    min = number(file, set);
                } else if (name.equals("maxThreads")) {
                    max = number(file, set);
                }
            }
        } catch (IOException | SAXException | ParserConfigurationException e) {
            throw new ConfigError(file + ": not a readable jetty.xml: " + e.getMessage());
        }
        if (min > max) {
            throw new ConfigError(file + ": minThreads " + min + " exceeds maxThreads " + max);
        }
        return new ThreadLimits(min, max);
    }

    private static int number(String file, Element set) throws ConfigError {
        return Settings.parse(file + ": " + set.getAttribute("name"), set.getTextContent(), 1,
                1_000_000);
    }

    private static DocumentBuilder parser() throws ParserConfigurationException {
        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        // jetty.xml names a DTD on the network, which must not be fetched.
        factory.setFeature(
                "http://apache.org/xml/features/nonvalidating/load-external-dtd", false);
        factory.setFeature("http://xml.org/sax/features/external-general-entities", false);
        DocumentBuilder parser = factory.newDocumentBuilder();
        parser.setErrorHandler(null);
        return parser;
    }
}
