//! The real servers, without Floodway: proves that what the other end-to-end tests rest on works by itself.
//! `cargo xtask test` installs what these need and runs them.

use std::time::Duration;

use backends::{Options, Server, loki, run_tool, tempo};

fn generate_traces(grpc_port: u16, service: &str, traces: &str) -> backends::Result<String> {
    let endpoint = format!("127.0.0.1:{grpc_port}");
    let mut args = vec!["traces", "--otlp-insecure", "--otlp-endpoint", &endpoint];
    // Its default is one trace a second.
    args.extend(["--service", service, "--traces", traces, "--rate", "0"]);
    run_tool("telemetrygen", &args, Duration::from_secs(60))
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn tempo_telemetrygen_traces_are_found_by_traceql() {
    let server = Server::start("tempo", &Options::default()).unwrap();
    generate_traces(server.port("otlp_grpc").unwrap(), "backends-test", "7").unwrap();
    let query = "{ resource.service.name = \"backends-test\" }";
    let found = tempo::await_traces(&server, query, 7, Duration::from_secs(30)).unwrap();
    assert_eq!(found.len(), 7);
    assert!(found.iter().all(|trace| trace.root_service_name == "backends-test"));
    assert!(tempo::trace(&server, &found[0].trace_id).unwrap().contains("backends-test"));
    assert!(tempo::search(&server, "{ resource.service.name = \"nobody\" }").unwrap().is_empty());
    assert!(tempo::search(&server, "{ not traceql").is_err());
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn tempo_two_run_side_by_side() {
    let (one, two) =
        (Server::start("tempo", &Options::default()), Server::start("tempo", &Options::default()));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.url(), two.url());
    let pid = one.pid();
    drop(one);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the server outlived its value");
    assert_eq!(two.get("/ready", &[]).unwrap().status, 200);
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_tempo_telemetrygen_redacts_with_its_own_processor() {
    let server = Server::start("tempo", &Options::default()).unwrap();
    let config = format!(
        "
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:@otlp_grpc@'}}}}}}}}
processors: {{redaction: {{allow_all_keys: true, blocked_values: ['backends-[a-z]+']}}}}
exporters: {{otlp: {{endpoint: '127.0.0.1:{}', tls: {{insecure: true}}}}}}
service: {{pipelines: {{traces: {{receivers: [otlp], processors: [redaction], exporters: [otlp]}}}}}}
",
        server.port("otlp_grpc").unwrap()
    );
    let collector = Server::start("otelcol", &Options::with_config(config)).unwrap();
    generate_traces(collector.port("otlp_grpc").unwrap(), "backends-secret", "3").unwrap();
    let found =
        tempo::await_traces(&server, "{ resource.service.name =~ \".*[*]+.*\" }", 3, Duration::from_secs(30));
    assert_eq!(found.unwrap().len(), 3);
    assert!(tempo::search(&server, "{ resource.service.name = \"backends-secret\" }").unwrap().is_empty());
    let metrics = format!("http://127.0.0.1:{}/metrics", collector.port("metrics").unwrap());
    let metrics = backends::http::get(&metrics, Duration::from_secs(5)).unwrap();
    assert!(metrics.body.contains("otelcol_receiver_accepted_spans"), "{}", metrics.body);
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn otelcol_with_a_bad_configuration_is_reported_with_its_log() {
    let error =
        Server::start("otelcol", &Options::with_config("receivers: {nosuch: {}}")).unwrap_err().to_string();
    assert!(error.contains("nosuch"), "{error}");
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn rsyslog_logger_a_message_is_passed_on_by_its_rule() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let rule = format!("action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" protocol=\"tcp\")\n");
    let server = Server::start("rsyslog", &Options::with_config(rule)).unwrap();
    let to = server.port("tcp").unwrap().to_string();
    let args = ["-n", "127.0.0.1", "-P", &to, "-T", "--rfc3164", "-t", "tester", "hello"];
    run_tool("logger", &args, Duration::from_secs(20)).unwrap();
    let mut line = String::new();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line).unwrap();
    assert!(line.starts_with("<13>") && line.ends_with(" tester: hello\n"), "{line}");
    assert!(run_tool("logger", &["--no-such-option"], Duration::from_secs(20)).is_err());
}

#[test]
#[ignore = "needs real servers: cargo xtask test"]
fn loki_promtail_lines_are_found_by_logql_also_after_a_restart() {
    let mut server = Server::start("loki", &Options::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("app.log"), "level=info dialled\nlevel=error lost\n").unwrap();
    let config = format!(
        "
server: {{http_listen_address: 127.0.0.1, http_listen_port: @http@, grpc_listen_address: 127.0.0.1, grpc_listen_port: 0}}
positions: {{filename: '{dir}/positions.yaml'}}
clients: [{{url: '{url}/loki/api/v1/push', batchwait: 100ms}}]
scrape_configs: [{{job_name: files, static_configs: [{{targets: [localhost], labels: {{job: backends-test, __path__: '{dir}/*.log'}}}}]}}]
",
        dir = dir.path().display(),
        url = server.url(),
    );
    let _promtail = Server::start("promtail", &Options::with_config(config)).unwrap();
    let all = "{job=\"backends-test\"}";
    let found = loki::await_entries(&server, all, 2, Duration::from_secs(60)).unwrap();
    assert_eq!(
        found.iter().map(|e| e.line.as_str()).collect::<Vec<_>>(),
        ["level=info dialled", "level=error lost"]
    );
    assert!(found[0].labels["filename"].ends_with("app.log"), "{:?}", found[0].labels);
    assert_eq!(loki::query(&server, &format!("{all} | logfmt | level=\"error\"")).unwrap().len(), 1);
    assert!(loki::query(&server, "{not logql").is_err());
    server.interrupt(Duration::from_secs(20)).unwrap();
    assert!(loki::query(&server, all).is_err());
    server.resume().unwrap();
    assert_eq!(loki::await_entries(&server, all, 2, Duration::from_secs(60)).unwrap().len(), 2);
}
