//! A configuration in a few lines: what listens where, what goes where, and whether peer ids are taken out on the way.

use std::fmt;

use config::Origin;
use engine::component::Claim;
use engine::graph::GraphSpec;

use crate::component_tables::REDACTION;

/// Taken before the graph is built, since building uses the settings up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    /// A receiver's key and where it listens.
    listens: Vec<(String, String)>,
    /// An exporter's key and what it writes on this machine.
    writes: Vec<(String, String)>,
    pipelines: Vec<PipelineLine>,
}

#[derive(Clone, Debug)]
struct PipelineLine {
    name: String,
    way: String,
    redaction: Redaction,
}

/// What happens to peer ids in a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redaction {
    On,
    /// `mode: shadow`: only counted.
    Shadow,
    Off,
}

impl Summary {
    pub(crate) fn of(spec: &GraphSpec, origin: &Origin) -> Self {
        let used = |list: fn(&engine::PipelineSpec) -> &Vec<String>, id: &String| {
            spec.pipelines.iter().any(|pipeline| list(pipeline).contains(id))
        };
        let receivers = spec.receivers.iter().filter(|receiver| used(|p| &p.receivers, &receiver.id));
        let exporters = spec.exporters.iter().filter(|exporter| used(|p| &p.exporters, &exporter.id));
        let pipelines = spec.pipelines.iter().map(|pipeline| PipelineLine {
            name: pipeline.name.clone(),
            way: [&pipeline.receivers, &pipeline.processors, &pipeline.exporters]
                .iter()
                .filter(|part| !part.is_empty())
                .map(|part| part.join(", "))
                .collect::<Vec<_>>()
                .join(" -> "),
            redaction: redaction(&pipeline.processors, origin),
        });
        Self {
            listens: receivers
                .map(|r| (r.id.clone(), places(&r.config.claims(), true)))
                .filter(|(_, place)| !place.is_empty())
                .collect(),
            writes: exporters
                .map(|e| (e.id.clone(), places(&e.config.claims(), false)))
                .filter(|(_, place)| !place.is_empty())
                .collect(),
            pipelines: pipelines.collect(),
        }
    }

    /// Names of the pipelines that let peer ids pass.
    pub(crate) fn unredacted(&self) -> Vec<&str> {
        self.named(|redaction| redaction != Redaction::On)
    }

    fn named(&self, which: impl Fn(Redaction) -> bool) -> Vec<&str> {
        self.pipelines.iter().filter(|line| which(line.redaction)).map(|line| line.name.as_str()).collect()
    }

    fn redaction(&self) -> Vec<String> {
        if self.unredacted().is_empty() {
            return vec!["on in every pipeline".to_owned()];
        }
        let state = |redaction, text: &str| {
            let names = self.named(|of| of == redaction);
            (!names.is_empty()).then(|| format!("{text} in {}", names.join(", ")))
        };
        let lines = [
            state(Redaction::Off, "OFF: peer ids pass as they are"),
            state(Redaction::Shadow, "SHADOW: peer ids are counted and pass as they are"),
            state(Redaction::On, "on"),
        ];
        lines.into_iter().flatten().collect()
    }
}

fn redaction(processors: &[String], origin: &Origin) -> Redaction {
    let modes = processors.iter().filter(|id| id.split('/').next() == Some(REDACTION)).map(|id| match origin
        .text(&["processors", id, "mode"])
    {
        Some("off") => Redaction::Off,
        Some("shadow") => Redaction::Shadow,
        _ => Redaction::On,
    });
    modes.min_by_key(|mode| *mode as u8).unwrap_or(Redaction::Off)
}

fn places(claims: &[Claim], listening: bool) -> String {
    let mut places = Vec::new();
    for claim in claims {
        match claim {
            Claim::Tcp(address) if listening => places.push(address.clone()),
            Claim::Udp(address) if listening => places.push(format!("{address} (UDP)")),
            Claim::Path(path) => places.push(path.display().to_string()),
            Claim::Tcp(_) | Claim::Udp(_) => {}
        }
    }
    places.join(", ")
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.listens.iter().chain(&self.writes).map(|(id, _)| id.len()).max().unwrap_or(0);
        let mut section = |title: &str, rows: Vec<String>| {
            for (n, row) in rows.into_iter().enumerate() {
                writeln!(f, "  {:<10} {row}", if n == 0 { title } else { "" })?;
            }
            Ok(())
        };
        let table = |rows: &[(String, String)]| {
            rows.iter().map(|(id, place)| format!("{id:<width$}  {place}")).collect()
        };
        section("listening", table(&self.listens))?;
        section(
            "pipelines",
            self.pipelines.iter().map(|line| format!("{}: {}", line.name, line.way)).collect(),
        )?;
        section("writing", table(&self.writes))?;
        section("redaction", self.redaction())
    }
}
