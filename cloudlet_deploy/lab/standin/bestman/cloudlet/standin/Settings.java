package cloudlet.standin;

import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;

/**
 * All that decides how the door runs: rc file, {@code -D} options, jetty.xml, wsdd.
 *
 * <p>Unknown rc keys are ignored, as BeStMan2 ignores them; a bad value of a known one is fatal.
 */
final class Settings {
    static final String FACTORY_ID = "srm/v2/server";

    final String rcFile;
    final int securePort;
    final String certFile;
    final String keyFile;
    final String caDirectory;
    final String hostName;
    final String gridMapFile;
    final List<String> allowedPaths;
    final List<String> blockedPaths;
    final List<String> transferServers;
    final boolean sudo;
    final boolean sudoOnLs;
    final String sudoCommand;
    final int fsConcurrency;
    final String eventLogLevel;
    final Path eventLogDirectory;
    final boolean noEventLog;
    final boolean silent;
    final long eventLogBytes;
    final int eventLogCount;
    final int acceptQueueSize;
    final int acceptors;
    final ThreadLimits threads;
    final int hangAbove;
    final List<String> notes = new ArrayList<>();

    private final Properties rc;

    private Settings(String rcFile, Properties rc) throws ConfigError {
        this.rcFile = rcFile;
        this.rc = rc;
        securePort = number("securePort", 8443, 1, 65535);
        certFile = required("CertFileName");
        keyFile = required("KeyFileName");
        if (!FACTORY_ID.equals(required("FactoryID"))) {
            throw new ConfigError(rcFile + ": FactoryID=" + text("FactoryID", "")
                    + ": must be " + FACTORY_ID);
        }
        gridMapFile = required("GridMapFileName");
        allowedPaths = existing("localPathListAllowed", "");
        blockedPaths = existing("localPathListToBlock", "/;/etc/;/var");
        transferServers = transferServers();
        sudo = flag("accessFileSysViaSudo");
        sudoOnLs = sudo && !flag("noSudoOnLs");
        sudoCommand = text("sudoCommand", "sudo");
        fsConcurrency = number("fsConcurrency", 0, 0, Integer.MAX_VALUE);
        eventLogLevel = text("eventLogLevel", "DEBUG").toUpperCase();
        eventLogDirectory = Path.of(text("EventLogLocation", "/var/log"));
        noEventLog = flag("noEventLog");
        silent = flag("silent");
        eventLogBytes = number("SRMEventLogByteMax", 50_000_000, 1, Integer.MAX_VALUE);
        eventLogCount = number("SRMMaxNumEventLog", 10, 1, 10_000);
        if (!flag("noCacheLog")) {
            notes.add("noCacheLog is not true: BeStMan2 would open a Berkeley DB in /var/log");
        }
        for (String key : new String[] {"checkSizeWithFS", "disableSpaceMgt"}) {
            if (!flag(key)) {
                notes.add(key + " is not true: BeStMan2 in gateway mode wants it");
            }
        }
        caDirectory = caDirectory();
        hostName = hostName();
        if (!text("protocolSelectionPolicy", "").isEmpty()) {
            notes.add("protocolSelectionPolicy is not known to the stand-in: round robin");
        }
        // Java's own backlog when the option is not given.
        acceptQueueSize = option("ConnectorAcceptQueueSize", 50, 0);
        acceptors = option("AcceptorSize", 1, 1);
        hangAbove = option("standin.hangAbove", 0, 0);
        threads = ThreadLimits.load(System.getProperty("JettyConfiguration", "jetty.xml"), notes);
        Home.check();
    }

    static Settings load(String file) throws ConfigError {
        Properties rc = new Properties();
        try (InputStream in = Files.newInputStream(Path.of(file))) {
            rc.load(in);
        } catch (IOException e) {
            throw new ConfigError(file + ": cannot read the rc file: " + e);
        } catch (IllegalArgumentException e) {
            throw new ConfigError(file + ": not a Java properties file: " + e.getMessage());
        }
        return new Settings(file, rc);
    }

    private String text(String key, String fallback) {
        String value = rc.getProperty(key);
        return value == null || value.isBlank() ? fallback : value.strip();
    }

    private String required(String key) throws ConfigError {
        String value = text(key, "");
        if (value.isEmpty()) {
            throw new ConfigError(rcFile + ": " + key + " is missing");
        }
        return value;
    }

    private boolean flag(String key) {
        return "true".equalsIgnoreCase(text(key, "false"));
    }

    private int number(String key, int fallback, int min, int max) throws ConfigError {
        return parse(rcFile + ": " + key, text(key, Integer.toString(fallback)), min, max);
    }

    private static int option(String key, int fallback, int min) throws ConfigError {
        String value = System.getProperty(key, "");
        return parse("-D" + key, value.isBlank() ? Integer.toString(fallback) : value, min,
                Integer.MAX_VALUE);
    }

    static int parse(String where, String value, int min, int max) throws ConfigError {
        try {
            int number = Integer.parseInt(value.strip());
            if (number >= min && number <= max) {
                return number;
            }
        } catch (NumberFormatException e) {
            // Falls through to the one message for both faults.
        }
        throw new ConfigError(where + "=" + value + ": must be a whole number from " + min
                + " to " + max);
    }

    /** A path that does not exist is dropped, as BeStMan2 drops it; the log says so. */
    private List<String> existing(String key, String fallback) {
        List<String> paths = new ArrayList<>();
        for (String entry : text(key, fallback).split(";")) {
            if (entry.isBlank()) {
                continue;
            }
            Path path = Path.of(entry.strip());
            try {
                paths.add(path.toRealPath().toString());
            } catch (IOException e) {
                notes.add(key + ": " + path + " does not exist here, entry dropped");
            }
        }
        return paths;
    }

    private List<String> transferServers() throws ConfigError {
        List<String> servers = new ArrayList<>();
        for (String entry : text("supportedProtocolList", "").split(";")) {
            String server = entry.strip().replaceAll("/+$", "");
            if (server.isEmpty()) {
                continue;
            }
            if (!server.matches("[a-z]+://[^/\\s]+")) {
                throw new ConfigError(rcFile + ": supportedProtocolList: " + entry
                        + ": must look like gsiftp://HOST[:PORT]");
            }
            servers.add(server);
        }
        return servers;
    }

    private static String caDirectory() throws ConfigError {
        for (String key : new String[] {"JettyConnectorCACertPath", "X509_CERT_DIR", "CADIR"}) {
            String value = System.getProperty(key, "");
            if (!value.isBlank()) {
                if (!Files.isDirectory(Path.of(value))) {
                    throw new ConfigError("-D" + key + "=" + value + ": not a directory");
                }
                return value;
            }
        }
        return "/etc/grid-security/certificates";
    }

    private static String hostName() throws ConfigError {
        String name = System.getProperty("GLOBUS_HOSTNAME", "");
        if (!name.isBlank()) {
            return name.strip();
        }
        try {
            return InetAddress.getLocalHost().getCanonicalHostName();
        } catch (IOException e) {
            throw new ConfigError("-DGLOBUS_HOSTNAME is not set and this host's name does not"
                    + " resolve: " + e.getMessage());
        }
    }

    /** The files of the prepared home that the toolkit leaves alone but the server needs. */
    private static final class Home {
        static void check() throws ConfigError {
            String descriptor = System.getProperty("JettyDescriptor", "");
            String resource = System.getProperty("JettyResource", "");
            if (descriptor.isBlank() || !Files.isReadable(Path.of(descriptor))) {
                throw new ConfigError("-DJettyDescriptor=" + descriptor
                        + ": no readable web.xml there");
            }
            Path wsdd = Path.of(resource, "WEB-INF", "server-config.wsdd");
            String text;
            try {
                text = Files.readString(wsdd, StandardCharsets.UTF_8);
            } catch (IOException e) {
                throw new ConfigError("-DJettyResource=" + resource + ": cannot read " + wsdd);
            }
            if (!text.contains("gov.lbl.srm.impl.TSRMServiceGateway")) {
                throw new ConfigError(wsdd + ": parameter className is not the gateway's;"
                        + " the stand-in knows gateway mode only");
            }
        }
    }
}
