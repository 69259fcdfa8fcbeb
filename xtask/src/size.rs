//! Functions of a screen, files of an afternoon: no function over 70 lines, no file over 600 lines before its tests.
//!
//! Counted on the syntax tree: a function from its `fn` to its closing brace, a file up to its first `#[cfg(test)]`. Tests
//! are not counted, nor is generated code (it says so in its first lines: "Generated ...; do not edit").

use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::shell::root;

const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 600;

/// One entry a breach: `path:line: what`.
fn breaches(path: &str, text: &str) -> Vec<String> {
    let file = match syn::parse_file(text) {
        Ok(file) => file,
        Err(error) => {
            return vec![format!("{path}:{}: cannot be parsed: {error}", error.span().start().line)];
        }
    };
    if is_test(&file.attrs) || is_generated(text) {
        return Vec::new();
    }
    let mut functions = Functions { path, found: Vec::new() };
    functions.visit_file(&file);
    let tests_from =
        file.items.iter().find(|item| is_test(attributes(item))).map(|item| item.span().start().line);
    let lines = tests_from.map_or_else(|| text.lines().count(), |line| line - 1);
    if lines > FILE_LINES {
        functions.found.push(format!("{path}:1: {lines} lines before its tests, allowed are {FILE_LINES}"));
    }
    functions.found
}

struct Functions<'a> {
    path: &'a str,
    found: Vec<String>,
}

impl Functions<'_> {
    fn check(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let (first, last) = (signature.span().start().line, body.span().end().line);
        let lines = last + 1 - first;
        if lines > FUNCTION_LINES {
            let Self { path, found } = self;
            found.push(format!(
                "{path}:{first}: fn {} has {lines} lines, allowed are {FUNCTION_LINES}",
                signature.ident
            ));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.check(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        _ => &[],
    }
}

fn is_generated(text: &str) -> bool {
    text.lines().take(5).any(|line| line.contains("Generated") && line.contains("do not edit"))
}

/// Source files of the program; files and directories called `tests` belong to the tests.
fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_tests = path.file_stem().is_some_and(|stem| stem == "tests" || stem == "target");
        if is_tests {
            continue;
        }
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn functions_and_files_are_of_a_readable_size() {
    let mut files = Vec::new();
    for dir in ["crates", "xtask", "fuzz"] {
        sources(&root().join(dir), &mut files);
    }
    assert!(files.len() > 20, "the sources were not found from {}", root().display());
    files.sort_unstable();
    let check = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        breaches(&path.strip_prefix(root()).unwrap().to_string_lossy(), &text)
    };
    let found: Vec<String> = files.iter().flat_map(check).collect();
    assert!(found.is_empty(), "split these:\n{}", found.join("\n"));
}

#[test]
fn long_functions_and_files_are_found_where_they_are() {
    let body = |lines: usize| "    f();\n".repeat(lines);
    let fits = format!("fn fits() {{\n{}}}\n", body(68));
    assert!(breaches("a.rs", &fits).is_empty());
    let long = format!("{fits}\nstruct S;\nimpl S {{\n/// Documented.\nfn long() {{\n{}}}\n}}\n", body(69));
    assert_eq!(breaches("a.rs", &long), ["a.rs:75: fn long has 71 lines, allowed are 70"]);
    let only_tests = format!("#[cfg(test)]\nmod tests {{\nfn long() {{\n{}}}\n}}\n", body(700));
    assert!(breaches("a.rs", &only_tests).is_empty());
    let comments = "// x\n".repeat(601);
    assert_eq!(
        breaches("a.rs", &format!("{comments}{only_tests}")),
        ["a.rs:1: 601 lines before its tests, allowed are 600"]
    );
    assert!(breaches("a.rs", "fn {").first().unwrap().contains("cannot be parsed"));
}
