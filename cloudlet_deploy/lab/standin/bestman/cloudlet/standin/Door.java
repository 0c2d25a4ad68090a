package cloudlet.standin;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedTransferQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.ietf.jgss.GSSException;

/**
 * The listening socket and its thread pool, shaped as BeStMan2's blocking connector is: one
 * thread a connection from handshake to close, acceptors from the same pool, and connections
 * that found no thread waiting in an unbounded queue.
 */
final class Door {
    /** An idle client holds its thread this long, in milliseconds. */
    static final int IDLE_MS = 200_000;

    static final int HANDSHAKE_MS = 10_000;
    private static final long THREAD_IDLE_S = 60;

    private final Settings settings;
    private final EventLog log;
    private final Credentials credentials;
    private final Operations operations;
    private final ThreadPoolExecutor pool;
    private final AtomicInteger clients = new AtomicInteger();
    private final CountDownLatch never = new CountDownLatch(1);
    private volatile boolean hung;

    Door(Settings settings, EventLog log) throws ConfigError {
        this.settings = settings;
        this.log = log;
        settings.notes.forEach(log::console);
        credentials = new Credentials(settings);
        operations = new Operations(settings, log);
        WorkQueue queue = new WorkQueue();
        pool = new ThreadPoolExecutor(settings.threads.min, settings.threads.max, THREAD_IDLE_S,
                TimeUnit.SECONDS, queue, (task, full) -> queue.put(task));
    }

    /** Binds, starts the acceptors and returns; the pool's threads keep the process alive. */
    void open() throws ConfigError, IOException {
        ServerSocket listener = new ServerSocket();
        listener.setReuseAddress(true);
        try {
            listener.bind(new InetSocketAddress(settings.securePort), settings.acceptQueueSize);
        } catch (IOException e) {
            throw new ConfigError(settings.rcFile + ": securePort=" + settings.securePort
                    + ": cannot listen: " + e.getMessage());
        }
        if (settings.acceptors >= settings.threads.max) {
            log.error("maxThreads " + settings.threads.max + " leaves no thread beside "
                    + settings.acceptors + " acceptors: nobody will be served");
        }
        // A core thread does not end by itself, so the process lives as long as the pool.
        pool.prestartAllCoreThreads();
        log.console("certificate " + credentials.certificate.getSubjectX500Principal()
                + " until " + credentials.certificate.getNotAfter().toInstant());
        log.console("listening on " + settings.securePort + ", backlog "
                + settings.acceptQueueSize + ", acceptors " + settings.acceptors + ", threads "
                + settings.threads.min + " to " + settings.threads.max + ", fsConcurrency "
                + settings.fsConcurrency + ", endpoint httpg://" + settings.hostName + ":"
                + settings.securePort + "/" + Settings.FACTORY_ID);
        for (int i = 0; i < settings.acceptors; i++) {
            pool.execute(() -> accept(listener));
        }
        log.console("stand-in is ready");
    }

    private void accept(ServerSocket listener) {
        while (true) {
            try {
                Socket socket = listener.accept();
                socket.setTcpNoDelay(true);
                admit(socket, credentials.context());
            } catch (IOException | GSSException e) {
                log.error("cannot accept a connection: " + e);
                pause();
            } catch (OutOfMemoryError e) {
                log.error("no thread or memory for a connection: " + e.getMessage());
                pause();
            }
        }
    }

    private void admit(Socket socket, GsiContext context) throws IOException {
        int now = clients.incrementAndGet();
        if (settings.hangAbove > 0 && now > settings.hangAbove && !hung) {
            hung = true;
            log.error("overload: " + now + " clients, standin.hangAbove=" + settings.hangAbove
                    + ": from now on nobody is served until the process is restarted");
        }
        boolean handed = false;
        try {
            pool.execute(() -> {
                try {
                    new Connection(this, socket, context, operations, log).run();
                } finally {
                    clients.decrementAndGet();
                }
            });
            handed = true;
        } finally {
            // The system may refuse another thread; then nobody else closes this connection.
            if (!handed) {
                clients.decrementAndGet();
                socket.close();
            }
        }
    }

    /** Blocks for ever once the door has hung; every step of a connection passes through here. */
    void checkpoint() {
        if (hung) {
            try {
                never.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private static void pause() {
        try {
            // Keeps an accept loop without file descriptors from burning a processor.
            TimeUnit.MILLISECONDS.sleep(100);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** Hands work to an idle thread if there is one, so that the pool grows before it queues. */
    private static final class WorkQueue extends LinkedTransferQueue<Runnable> {
        private static final long serialVersionUID = 1L;

        @Override
        public boolean offer(Runnable task) {
            return tryTransfer(task);
        }
    }
}
