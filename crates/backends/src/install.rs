//! Builds or fetches a backend into the cache, once.
//!
//! Two processes that want the same backend wait for each other on a lock file. The stamp is the recipe itself as text
//! (`Debug` of the table's entry, sources included), so whatever changes the result changes the stamp.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::catalog::Backend;
use crate::debian::Debian;
use crate::error::{Error, Result};
use crate::home::{Home, Place};
use crate::steps::{Progress, Steps};

/// What an installation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// Nothing: this version was there.
    Already,
    /// It built or fetched it in this time.
    Now(Duration),
}

/// Where a backend comes from.
#[derive(Debug)]
pub(crate) enum Recipe {
    /// A main package of a published Go module.
    GoModule(GoModule),
    /// A Go main of ours over published modules.
    GoMain(GoMain),
    /// Jars from Maven Central.
    Maven(Maven),
    /// A program out of the distribution's packages.
    Debian(Debian),
}

/// `go install` refuses modules with `replace` lines, so the package is built from a scratch module that takes over the
/// `go`, `replace` and `exclude` lines of the real one.
#[derive(Debug)]
pub(crate) struct GoModule {
    /// The module's path.
    pub(crate) module: &'static str,
    /// Its version as the module proxy knows it.
    pub(crate) version: &'static str,
    /// The main package.
    pub(crate) package: &'static str,
    /// Files to add to a copy of its source: path and text. Each is a repair that must be explained where it is listed.
    pub(crate) patch: &'static [(&'static str, &'static str)],
}

#[derive(Debug)]
pub(crate) struct GoMain {
    /// The text of main.go.
    pub(crate) main: &'static str,
    /// `module@version` of each direct dependency.
    pub(crate) requires: &'static [&'static str],
}

#[derive(Debug)]
pub(crate) struct Maven {
    /// `group:artifact:version` of each direct dependency.
    pub(crate) artifacts: &'static [&'static str],
    /// A Java source file to compile against them: name and text.
    pub(crate) source: Option<(&'static str, &'static str)>,
}

/// Installs a backend unless this very version is installed already. Waits for another process that is at it.
/// Progress is told to `progress`; the whole output is in `install.log` in the backend's directory of the cache.
///
/// # Errors
/// [`Error::Toolchain`] names what this machine lacks; [`Error::Step`] has the end of the log.
pub fn install(home: &Home, backend: &'static Backend, progress: &dyn Fn(Progress<'_>)) -> Result<Installed> {
    let place = backend.place(home);
    std::fs::create_dir_all(place.dir()).map_err(Error::io("create", place.dir()))?;
    let lock = File::create(place.lock()).map_err(Error::io("create", &place.lock()))?;
    lock.lock().map_err(Error::io("lock", &place.lock()))?;
    if is_installed(home, backend) {
        return Ok(Installed::Already);
    }
    let missing = backend.missing();
    if !missing.is_empty() {
        return Err(Error::Toolchain { backend: backend.name, missing });
    }
    remove(&place)?;
    let steps = Steps::new(backend.name, place.log(), progress)?;
    let build = place.build();
    std::fs::create_dir_all(&build).map_err(Error::io("create", &build))?;
    match &backend.recipe {
        Recipe::GoModule(recipe) => recipe.build(&steps, &build, &place.bin(backend.name))?,
        Recipe::GoMain(recipe) => recipe.build(&steps, &build, &place.bin(backend.name))?,
        Recipe::Maven(recipe) => recipe.fetch(&steps, &build, &place)?,
        Recipe::Debian(recipe) => recipe.fetch(&steps, &build, &place, backend.name)?,
    }
    std::fs::remove_dir_all(&build).map_err(Error::io("remove", &build))?;
    std::fs::write(place.stamp(), stamp(backend)).map_err(Error::io("write", &place.stamp()))?;
    Ok(Installed::Now(steps.elapsed()))
}

/// Whether the version in the table is completely installed.
pub fn is_installed(home: &Home, backend: &Backend) -> bool {
    std::fs::read_to_string(backend.place(home).stamp()).is_ok_and(|text| text == stamp(backend))
}

fn stamp(backend: &Backend) -> String {
    format!("{} {}\n{:#?}\n", backend.name, backend.version, backend.recipe)
}

/// Removes what an older or interrupted installation left; the stamp first.
fn remove(place: &Place) -> Result<()> {
    let absent_is_fine = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    absent_is_fine(std::fs::remove_file(place.stamp())).map_err(Error::io("remove", &place.stamp()))?;
    for dir in [place.build(), place.lib(), place.classes()] {
        absent_is_fine(std::fs::remove_dir_all(&dir)).map_err(Error::io("remove", &dir))?;
    }
    Ok(())
}

/// A `go` command that builds static binaries with the installed toolchain, whatever the user's settings are.
fn go(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.args(args).current_dir(dir);
    command
        .env("GOFLAGS", "-buildvcs=false")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .env("CGO_ENABLED", "0");
    command
}

/// Tempo's age needs `linkname` into the runtime, which newer linkers refuse unless told.
const LINKER_FLAGS: &str = "-ldflags=-s -w -checklinkname=0";

impl GoModule {
    fn build(&self, steps: &Steps<'_>, dir: &Path, binary: &Path) -> Result<()> {
        let module = format!("{}@{}", self.module, self.version);
        steps.run_online("download the module", &mut go(dir, &["mod", "download", &module]))?;
        let found = steps.capture("find its go.mod", &mut go(dir, &["mod", "download", "-json", &module]))?;
        let go_mod = json(&found, "go mod download -json")?["GoMod"].as_str().unwrap_or_default().to_owned();
        let described = steps.capture("read its go.mod", &mut go(dir, &["mod", "edit", "-json", &go_mod]))?;
        steps.run("make a scratch module", &mut go(dir, &["mod", "init", "floodway.test/backend"]))?;
        let mut edits = vec!["mod".to_owned(), "edit".to_owned(), format!("-require={module}")];
        edits.extend(inherited(&json(&described, "go mod edit -json")?));
        steps.run(
            "take over its replacements",
            &mut go(dir, &edits.iter().map(String::as_str).collect::<Vec<_>>()),
        )?;
        let tools = format!("//go:build tools\n\npackage tools\n\nimport _ \"{}\"\n", self.package);
        write(&dir.join("tools.go"), &tools)?;
        steps.run_online("download its dependencies", &mut go(dir, &["get", &module]))?;
        if !self.patch.is_empty() {
            self.apply_patch(steps, dir)?;
        }
        let binary = binary.to_string_lossy();
        steps.run_online(
            "compile",
            &mut go(dir, &["build", "-mod=mod", LINKER_FLAGS, "-o", &binary, self.package]),
        )
    }

    fn apply_patch(&self, steps: &Steps<'_>, dir: &Path) -> Result<()> {
        let listed =
            steps.capture("find its source", &mut go(dir, &["list", "-m", "-f", "{{.Dir}}", self.module]))?;
        let copy = dir.join("src");
        copy_tree(Path::new(listed.trim()), &copy)?;
        for (file, text) in self.patch {
            write(&copy.join(file), text)?;
        }
        let replace = format!("-replace={}=./src", self.module);
        steps.run("use the patched source", &mut go(dir, &["mod", "edit", &replace]))
    }
}

impl GoMain {
    fn build(&self, steps: &Steps<'_>, dir: &Path, binary: &Path) -> Result<()> {
        write(&dir.join("main.go"), self.main)?;
        steps.run("make a module", &mut go(dir, &["mod", "init", "floodway.test/backend"]))?;
        let requires: Vec<String> =
            self.requires.iter().map(|require| format!("-require={require}")).collect();
        let args: Vec<&str> =
            ["mod", "edit"].into_iter().chain(requires.iter().map(String::as_str)).collect();
        steps.run("require its parts", &mut go(dir, &args))?;
        let binary = binary.to_string_lossy();
        steps.run_online(
            "download and compile",
            &mut go(dir, &["build", "-mod=mod", "-ldflags=-s -w", "-o", &binary, "."]),
        )
    }
}

impl Maven {
    fn fetch(&self, steps: &Steps<'_>, dir: &Path, place: &Place) -> Result<()> {
        write(&dir.join("pom.xml"), &self.pom())?;
        let lib = place.lib();
        let mut maven = Command::new("mvn");
        maven
            .args(["-q", "-B", "dependency:copy-dependencies"])
            .arg(format!("-DoutputDirectory={}", lib.display()));
        steps.run_online("download the jars", maven.current_dir(dir))?;
        let Some((file, text)) = self.source else {
            return Ok(());
        };
        write(&dir.join(file), text)?;
        let mut javac = Command::new("javac");
        javac.arg("-cp").arg(lib.join("*")).arg("-d").arg(place.classes()).arg(file);
        steps.run("compile", javac.current_dir(dir))
    }

    fn pom(&self) -> String {
        let dependency = |artifact: &&str| {
            let mut parts = artifact.split(':');
            let mut part = || parts.next().unwrap_or_default();
            let (group, artifact, version) = (part(), part(), part());
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
            )
        };
        let dependencies: String = self.artifacts.iter().map(dependency).collect();
        format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
             <groupId>floodway.test</groupId><artifactId>backend</artifactId><version>1</version>\
             <dependencies>{dependencies}</dependencies></project>\n"
        )
    }
}

/// The lines of another module's go.mod that hold only in the main module, as arguments of `go mod edit`. Replacements by
/// a directory are left out: that directory is not in the published module.
fn inherited(go_mod: &serde_json::Value) -> Vec<String> {
    let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let at = |value: &serde_json::Value| match text(value, "Version") {
        version if version.is_empty() => text(value, "Path"),
        version => format!("{}@{version}", text(value, "Path")),
    };
    let list = |key: &str| go_mod[key].as_array().cloned().unwrap_or_default();
    let replaces =
        list("Replace").into_iter().filter(|replace| !text(&replace["New"], "Path").starts_with('.'));
    let mut edits = vec![format!("-go={}", text(go_mod, "Go"))];
    edits.extend(replaces.map(|replace| format!("-replace={}={}", at(&replace["Old"]), at(&replace["New"]))));
    edits.extend(list("Exclude").iter().map(|exclude| format!("-exclude={}", at(exclude))));
    edits
}

fn json(text: &str, command: &str) -> Result<serde_json::Value> {
    serde_json::from_str(text)
        .map_err(|error| Error::Output { command: command.to_owned(), reason: error.to_string() })
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    }
    std::fs::write(path, text).map_err(Error::io("write", path))
}

/// Copies a directory of the (read-only) module cache; the new directories are writable.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).map_err(Error::io("create", to))?;
    for entry in std::fs::read_dir(from).map_err(Error::io("read", from))? {
        let entry = entry.map_err(Error::io("read", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &target)?;
        } else {
            std::fs::copy(&source, &target).map_err(Error::io("copy", &source))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::find;

    #[test]
    fn lines_that_hold_only_in_a_main_module_are_taken_over() {
        let go_mod = serde_json::json!({
            "Go": "1.19",
            "Replace": [
                {"Old": {"Path": "a.org/x"}, "New": {"Path": "b.org/x", "Version": "v1.2.3"}},
                {"Old": {"Path": "a.org/y", "Version": "v1.0.0"}, "New": {"Path": "a.org/y", "Version": "v0.9.0"}},
                {"Old": {"Path": "a.org/z"}, "New": {"Path": "./z"}},
            ],
            "Exclude": [{"Path": "c.org/w", "Version": "v2.0.0"}],
        });
        let expected = [
            "-go=1.19",
            "-replace=a.org/x=b.org/x@v1.2.3",
            "-replace=a.org/y@v1.0.0=a.org/y@v0.9.0",
            "-exclude=c.org/w@v2.0.0",
        ];
        assert_eq!(inherited(&go_mod), expected);
    }

    #[test]
    fn only_the_stamp_of_the_same_recipe_counts() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let backend = find("tempo").unwrap();
        assert!(!is_installed(&home, backend));
        let path = backend.place(&home).stamp();
        write(&path, &stamp(backend)).unwrap();
        assert!(is_installed(&home, backend));
        assert_eq!(install(&home, backend, &|_| {}).unwrap(), Installed::Already);
        write(&path, &stamp(backend).replace(backend.version, "v0")).unwrap();
        assert!(!is_installed(&home, backend));
    }

    #[test]
    fn a_new_installation_forgets_the_old_one_first() {
        let dir = tempfile::tempdir().unwrap();
        let place = Home::at(dir.path()).of("kafka");
        remove(&place).unwrap();
        for file in [place.stamp(), place.lib().join("old.jar"), place.build().join("half")] {
            write(&file, "").unwrap();
        }
        remove(&place).unwrap();
        assert!(!place.stamp().exists() && !place.lib().exists() && !place.build().exists());
    }

    #[test]
    fn a_pom_lists_each_artifact() {
        let pom = Maven { artifacts: &["g.a:b:1.0", "c:d:2"], source: None }.pom();
        assert!(
            pom.contains("<groupId>g.a</groupId><artifactId>b</artifactId><version>1.0</version>"),
            "{pom}"
        );
        assert_eq!(pom.matches("<dependency>").count(), 2);
    }
}
