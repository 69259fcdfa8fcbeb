//! Prometheus 3: takes remote-write 1 and 2 (`/api/v1/write`) and OTLP (`/api/v1/otlp`), answers PromQL (`/api/v1/query`).
//!
//! With a configuration of the test's (`@http@` is its own port) it scrapes and sends too; [`own_metric`] tells what it sent.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::catalog::{Backend, Launch, NEEDS_GO, Ready, Site};
use crate::error::{Error, Result};
use crate::install::{GoModule, Recipe};
use crate::net::PortSpec;
use crate::server::Server;

/// The Go module's number; the program calls itself 3.15.
const VERSION: &str = "v0.315.0";

pub(crate) const BACKEND: Backend = Backend {
    name: "prometheus",
    version: VERSION,
    about: "Prometheus 3.15: remote-write and OTLP in, PromQL out",
    needs: NEEDS_GO,
    ports: &[PortSpec { name: "http", fixed: 29_090 }],
    recipe: Recipe::GoModule(GoModule {
        module: "github.com/prometheus/prometheus",
        version: VERSION,
        package: "github.com/prometheus/prometheus/cmd/prometheus",
        patch: &[],
    }),
    launch: Some(launch),
};

fn launch(site: &Site<'_>) -> Result<Launch> {
    let config = site.options.config.as_deref().unwrap_or("global: {scrape_interval: 1s}\n");
    let config = site.write_config("prometheus.yaml", config)?;
    let url = site.http("http")?;
    Ok(Launch {
        program: site.bin("prometheus"),
        args: vec![
            format!("--config.file={config}"),
            format!("--storage.tsdb.path={}", site.data()),
            format!("--web.listen-address=127.0.0.1:{}", site.ports.get("http")?),
            "--web.enable-remote-write-receiver".to_owned(),
            "--web.enable-otlp-receiver".to_owned(),
            "--enable-feature=exemplar-storage".to_owned(),
        ],
        before: Vec::new(),
        ready: Ready::Http(format!("{url}/-/ready")),
        url,
    })
}

/// A series that a query found, with its latest value.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its labels, `__name__` among them where the query keeps it.
    pub labels: BTreeMap<String, String>,
    /// Its value; NaN for a native histogram, which is none.
    pub value: f64,
}

/// What an instant query (PromQL) finds, now or at a Unix time in seconds.
///
/// # Errors
/// [`Error::Http`] if Prometheus does not answer, or refuses the query: then with its explanation.
pub fn query(prometheus: &Server, promql: &str, at: Option<f64>) -> Result<Vec<Found>> {
    let time = at.map(|at| at.to_string());
    let mut pairs = vec![("query", promql)];
    pairs.extend(time.as_deref().map(|time| ("time", time)));
    let answer = ask(prometheus, "/api/v1/query", &pairs, promql)?;
    let found = answer["data"]["result"].as_array().into_iter().flatten().map(|series| Found {
        labels: texts(&series["metric"]),
        value: series["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN),
    });
    Ok(found.collect())
}

/// As [`query`], again and again until `enough` says so.
///
/// # Errors
/// As [`query`]; [`Error::Timeout`] says what was found after `limit`.
pub fn await_query(
    prometheus: &Server,
    promql: &str,
    limit: Duration,
    enough: impl Fn(&[Found]) -> bool,
) -> Result<Vec<Found>> {
    let deadline = Instant::now() + limit;
    loop {
        let found = query(prometheus, promql, None)?;
        if enough(&found) {
            return Ok(found);
        }
        if Instant::now() > deadline {
            let detail = format!(": {found:?}");
            return Err(Error::Timeout { what: format!("finding {promql}"), limit, detail });
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A series: its labels, and its values by Unix time in milliseconds.
pub type Samples = (BTreeMap<String, String>, Vec<(i64, f64)>);

/// The samples of the series that match a selector.
///
/// # Errors
/// As [`query`].
pub fn samples(prometheus: &Server, selector: &str, range: &str) -> Result<Vec<Samples>> {
    let promql = format!("{selector}[{range}]");
    let answer = ask(prometheus, "/api/v1/query", &[("query", &promql)], &promql)?;
    let value = |pair: &serde_json::Value| {
        let time = (pair[0].as_f64().unwrap_or(0.0) * 1000.0).round() as i64;
        (time, pair[1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN))
    };
    let series = answer["data"]["result"].as_array().into_iter().flatten().map(|series| {
        let values = series["values"].as_array().into_iter().flatten().map(value);
        (texts(&series["metric"]), values.collect())
    });
    Ok(series.collect())
}

/// The labels of the exemplars of a query of the last hour.
///
/// # Errors
/// As [`query`].
pub fn exemplars(prometheus: &Server, promql: &str) -> Result<Vec<BTreeMap<String, String>>> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (start, end) = (now.as_secs().saturating_sub(3600).to_string(), (now.as_secs() + 60).to_string());
    let pairs = [("query", promql), ("start", &start), ("end", &end)];
    let answer = ask(prometheus, "/api/v1/query_exemplars", &pairs, promql)?;
    let series = answer["data"].as_array().into_iter().flatten();
    let exemplars = series.flat_map(|series| series["exemplars"].as_array().into_iter().flatten());
    Ok(exemplars.map(|exemplar| texts(&exemplar["labels"])).collect())
}

fn texts(object: &serde_json::Value) -> BTreeMap<String, String> {
    let pairs = object.as_object().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn ask(prometheus: &Server, path: &str, pairs: &[(&str, &str)], promql: &str) -> Result<serde_json::Value> {
    let response = prometheus.get(path, pairs)?;
    let refused =
        |reason: String| Error::Http { url: format!("{}{path} of {promql}", prometheus.url()), reason };
    if response.status != 200 {
        return Err(refused(format!("{}: {}", response.status, response.body.trim())));
    }
    serde_json::from_str(&response.body).map_err(|error| refused(error.to_string()))
}

/// The sum over the series of one of its own metrics, such as `prometheus_remote_storage_samples_total`; 0 if there is none.
///
/// # Errors
/// [`crate::Error::Http`] if it does not answer.
pub fn own_metric(prometheus: &Server, name: &str) -> Result<f64> {
    let text = prometheus.get("/metrics", &[])?.body;
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values = text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}
