import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.List;

/** Posts a body with the defaults of java.net.http.HttpClient, which offers h2c; prints each answer. */
class Defaults {
    public static void main(String[] arguments) throws Exception {
        byte[] body = System.in.readAllBytes();
        HttpClient client = HttpClient.newHttpClient();
        List<BodyPublisher> bodies = List.of(
                BodyPublishers.ofByteArray(body),
                BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body)),
                BodyPublishers.ofByteArray(body));
        for (BodyPublisher publisher : bodies) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                    .header("Authorization", "Bearer " + arguments[1])
                    .POST(publisher)
                    .build();
            var answer = client.send(request, BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body());
        }
    }
}
