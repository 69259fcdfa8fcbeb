import org.codelibs.opensearch.runner.OpenSearchRunner;

/** One OpenSearch node on loopback: OpenSearchNode DATA_DIR HTTP_PORT TRANSPORT_PORT. Runs until its process is ended. */
public class OpenSearchNode {
  public static void main(String[] args) throws Exception {
    OpenSearchRunner node = new OpenSearchRunner();
    node.onBuild((number, settings) -> {
      settings.put("network.host", "127.0.0.1");
      settings.put("http.port", args[1]);
      settings.put("transport.port", args[2]);
      settings.put("node.store.allow_mmap", false);
    });
    node.build(OpenSearchRunner.newConfigs().basePath(args[0]).numOfNode(1).clusterName("floodway"));
    node.ensureYellow();
    Thread.currentThread().join();
  }
}
