import java.io.FileInputStream;
import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * A client of HTTP in Java: fetches one URL and puts the same bytes to another, for each pair.
 *
 * <p>java Fetch.java AUTHORITY PROXY-HOST|- PROXY-PORT (FROM TO)...
 */
public class Fetch {
    public static void main(String[] words) throws Exception {
        var trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (var file = new FileInputStream(words[0])) {
            var authority = CertificateFactory.getInstance("X.509").generateCertificate(file);
            trusted.setCertificateEntry("authority", authority);
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        var tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        var builder = HttpClient.newBuilder().sslContext(tls).connectTimeout(Duration.ofSeconds(30));
        if (!words[1].equals("-")) {
            var proxy = InetSocketAddress.createUnresolved(words[1], Integer.parseInt(words[2]));
            builder.proxy(ProxySelector.of(proxy));
        }
        var client = builder.build();
        for (int place = 3; place < words.length; place += 2) {
            var get = HttpRequest.newBuilder(URI.create(words[place])).build();
            var got = client.send(get, HttpResponse.BodyHandlers.ofByteArray());
            if (got.statusCode() != 200) throw new IllegalStateException(got.toString());
            var body = HttpRequest.BodyPublishers.ofByteArray(got.body());
            var put = HttpRequest.newBuilder(URI.create(words[place + 1])).PUT(body).build();
            var answer = client.send(put, HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() != 201) throw new IllegalStateException(answer.toString());
        }
        System.exit(0);
    }
}
