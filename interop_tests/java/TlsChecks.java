import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultSaslConfig;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.MessageProperties;
import java.io.InputStream;
import java.net.SocketException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import java.util.Random;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLException;
import javax.net.ssl.TrustManagerFactory;

/** Checks of TLS with the RabbitMQ Java client, one line of output each; see check_program.py and tls_broker.py. */
public final class TlsChecks {
    private static final char[] PASSWORD = "secret".toCharArray();
    private static final int LARGE = 3_000_000;
    private static final int TIMEOUT_MS = 10_000;

    private interface Body {
        void run() throws Exception;
    }

    private final int port;
    private final Path folder;

    private TlsChecks(int port, Path folder) {
        this.port = port;
        this.folder = folder;
    }

    public static void main(String[] arguments) {
        new TlsChecks(Integer.parseInt(arguments[0]), Paths.get(arguments[1])).runAll();
    }

    private void runAll() {
        check("messages go through a queue over TLS 1.2", () -> roundTrip("TLSv1.2"));
        check("messages go through a queue over TLS 1.3", () -> roundTrip("TLSv1.3"));
        check("a broker of an authority that is not known is left", this::unknownAuthority);
        check("a client certificate is enough to log in", this::certificateLogin);
        check("a password goes with a client certificate too", this::passwordAndCertificate);
        check("a certificate that names no user is refused", this::nobody);
        check("a certificate of another authority is refused", this::stranger);
        check("without a certificate nobody logs in by it", this::noCertificate);
        check("a wrong password is refused over TLS", this::wrongPassword);
    }

    private static void check(String name, Body body) {
        try {
            body.run();
            System.out.println("ok " + name);
        } catch (Throwable problem) {
            StackTraceElement[] stack = problem.getStackTrace();
            System.out.println("failed " + name + ": " + problem + " caused by " + problem.getCause() + " at "
                + Arrays.toString(Arrays.copyOf(stack, Math.min(stack.length, 6))));
        }
    }

    private SSLContext context(String protocol, String authority, String client) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (InputStream in = Files.newInputStream(folder.resolve(authority + ".pem"))) {
            trusted.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        KeyManager[] keys = null;
        if (client != null) {
            KeyStore own = KeyStore.getInstance("PKCS12");
            try (InputStream in = Files.newInputStream(folder.resolve(client + ".p12"))) {
                own.load(in, PASSWORD);
            }
            KeyManagerFactory factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            factory.init(own, PASSWORD);
            keys = factory.getKeyManagers();
        }
        SSLContext found = SSLContext.getInstance(protocol);
        found.init(keys, trust.getTrustManagers(), null);
        return found;
    }

    private ConnectionFactory factory(SSLContext context) {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setHost("127.0.0.1");
        factory.setPort(port);
        factory.setAutomaticRecoveryEnabled(false);
        factory.setConnectionTimeout(TIMEOUT_MS);
        factory.useSslProtocol(context);
        return factory;
    }

    private ConnectionFactory byCertificate(String client) throws Exception {
        ConnectionFactory factory = factory(context("TLS", "ca", client));
        factory.setSaslConfig(DefaultSaslConfig.EXTERNAL);
        return factory;
    }

    private static void through(ConnectionFactory factory) throws Exception {
        try (Connection connection = factory.newConnection()) {
            Channel channel = connection.createChannel();
            String queue = channel.queueDeclare().getQueue();
            channel.confirmSelect();
            for (int size : new int[] {0, 1, 20_000, LARGE}) {
                byte[] body = new byte[size];
                new Random(size).nextBytes(body);
                channel.basicPublish("", queue, MessageProperties.MINIMAL_BASIC, body);
                channel.waitForConfirmsOrDie(TIMEOUT_MS);
                GetResponse got = channel.basicGet(queue, true);
                if (got == null || !Arrays.equals(got.getBody(), body)) {
                    throw new AssertionError("a body of " + size + " octets did not come back as it was");
                }
            }
        }
    }

    /** Returns why a connection could not be opened, which is for one of these reasons if any are given. */
    private static String refusal(ConnectionFactory factory, Class<?>... kinds) {
        try (Connection connection = factory.newConnection()) {
            throw new AssertionError("the connection is open: " + connection);
        } catch (Exception problem) {
            StringBuilder said = new StringBuilder();
            boolean found = kinds.length == 0;
            for (Throwable cause = problem; cause != null; cause = cause.getCause()) {
                said.append(cause).append("; ");
                for (Class<?> kind : kinds) {
                    found |= kind.isInstance(cause);
                }
            }
            if (!found) {
                throw new AssertionError("refused with something else: " + said);
            }
            return said.toString();
        }
    }

    private static void contains(String text, String part) {
        if (!text.contains(part)) {
            throw new AssertionError("expected '" + part + "' in: " + text);
        }
    }

    private void roundTrip(String protocol) throws Exception {
        through(factory(context(protocol, "ca", null)));
    }

    private void unknownAuthority() throws Exception {
        refusal(factory(context("TLS", "other-ca", null)), SSLException.class);
    }

    private void certificateLogin() throws Exception {
        through(byCertificate("guest"));
    }

    private void passwordAndCertificate() throws Exception {
        through(factory(context("TLS", "ca", "nobody")));
    }

    private void nobody() throws Exception {
        contains(refusal(byCertificate("nobody")), "ACCESS_REFUSED");
    }

    private void stranger() throws Exception {
        // The broker refuses while the client still sends, which may then see a reset before the alert.
        for (String protocol : new String[] {"TLSv1.2", "TLSv1.3"}) {
            ConnectionFactory factory = factory(context(protocol, "ca", "stranger"));
            factory.setSaslConfig(DefaultSaslConfig.EXTERNAL);
            refusal(factory, SSLException.class, SocketException.class);
        }
    }

    private void noCertificate() throws Exception {
        contains(refusal(byCertificate(null)), "PLAIN");
    }

    private void wrongPassword() throws Exception {
        ConnectionFactory factory = factory(context("TLS", "ca", null));
        factory.setPassword("wrong");
        contains(refusal(factory), "ACCESS_REFUSED");
    }
}
