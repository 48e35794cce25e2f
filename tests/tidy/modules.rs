//! The order of modules: inside a crate, files use each other without a circle.
//!
//! A file uses another where it imports or names something that is defined there. `mod x;` and
//! re-exports are no use: a name leads to the file that defines it, through whatever re-exports it.

use std::collections::{BTreeMap, BTreeSet};

use crate::rust_source::{Module, parse};

/// Files of which each uses, in some steps, every other.
#[derive(Debug)]
#[expect(
    dead_code,
    reason = "`uses` is for the reader of a failed test, through Debug"
)]
pub(crate) struct Circle {
    pub files: BTreeSet<String>,
    /// `a.rs → b.rs (name)`, for the reader of a failed test.
    pub uses: Vec<String>,
}

/// A module in the tree of a crate.
struct Room {
    file: String,
    module: Module,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
}

/// The modules of a crate; the root is the first.
pub(crate) struct Crate {
    rooms: Vec<Room>,
}

impl Crate {
    /// Reads a crate from its files, as (path, text), of which `root` is the first module. Modules
    /// that only tests have are left out.
    pub(crate) fn read(root: &str, files: &BTreeMap<String, String>) -> Self {
        let mut this = Self { rooms: Vec::new() };
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        this.add(root, folder, parse(&files[root]), None, files);
        this
    }

    fn add(
        &mut self,
        file: &str,
        folder: &str,
        mut module: Module,
        parent: Option<usize>,
        files: &BTreeMap<String, String>,
    ) -> usize {
        let (named, inline) = (
            std::mem::take(&mut module.files),
            std::mem::take(&mut module.inline),
        );
        let id = self.rooms.len();
        self.rooms.push(Room {
            file: file.to_owned(),
            module,
            parent,
            children: BTreeMap::new(),
        });
        for name in named {
            let paths = [
                format!("{folder}/{name}.rs"),
                format!("{folder}/{name}/mod.rs"),
            ];
            let Some(path) = paths.into_iter().find(|path| files.contains_key(path)) else {
                panic!("{file}: no file for `mod {name};`");
            };
            let inner = parse(&files[&path]);
            let child = self.add(&path, &format!("{folder}/{name}"), inner, Some(id), files);
            self.rooms[id].children.insert(name, child);
        }
        for (name, inner) in inline {
            let child = self.add(file, &format!("{folder}/{name}"), inner, Some(id), files);
            self.rooms[id].children.insert(name, child);
        }
        id
    }

    /// Every circle among the crate's files.
    pub(crate) fn circles(&self) -> Vec<Circle> {
        let mut uses: BTreeMap<(&str, &str), String> = BTreeMap::new();
        for (id, room) in self.rooms.iter().enumerate() {
            let imports = room.module.imports.iter();
            let imported = imports
                .filter(|import| !import.is_reexport)
                .map(|import| &import.path);
            for path in imported.chain(&room.module.paths) {
                let Some(file) = self.definer(id, path) else {
                    continue;
                };
                if file != room.file {
                    uses.entry((&room.file, file))
                        .or_insert_with(|| path.join("::"));
                }
            }
        }
        let edges: Vec<(&str, &str)> = uses.keys().copied().collect();
        let mut circles = Vec::new();
        let mut seen = BTreeSet::new();
        for &(file, _) in &edges {
            let back = reached(file, &edges, |&(from, to)| (to, from));
            let circle: BTreeSet<&str> = reached(file, &edges, |&edge| edge)
                .intersection(&back)
                .copied()
                .collect();
            if circle.is_empty() || !seen.insert(circle.clone()) {
                continue;
            }
            let within = |(from, to): &(&str, &str)| circle.contains(from) && circle.contains(to);
            circles.push(Circle {
                uses: (uses.iter().filter(|(edge, _)| within(edge)))
                    .map(|((from, to), name)| format!("{from} → {to} ({name})"))
                    .collect(),
                files: circle.into_iter().map(str::to_owned).collect(),
            });
        }
        circles
    }

    /// The file that defines what `path` names in module `from`; `None` for other crates' things and
    /// for a bare module, whose contents are what is used.
    fn definer(&self, from: usize, path: &[String]) -> Option<&str> {
        let (mut at, mut path) = self.begin(from, path, 0)?;
        while let Some(name) = path.first() {
            let is_item_too = || self.offers(at, name) && path.len() == 1;
            if name == "super" {
                at = self.rooms[at].parent?;
            } else if self.rooms[at].children.contains_key(name) && is_item_too() {
                return self.defined_in(at, path, 0);
            } else if let Some(&child) = self.rooms[at].children.get(name) {
                at = child;
            } else if name == "*" {
                return Some(&self.rooms[at].file);
            } else {
                return self.defined_in(at, path, 0);
            }
            path = &path[1..];
        }
        None
    }

    /// Where a path's first segment leads, and what is left of the path.
    fn begin<'p>(
        &self,
        from: usize,
        path: &'p [String],
        depth: usize,
    ) -> Option<(usize, &'p [String])> {
        let (first, rest) = path.split_first()?;
        let room = &self.rooms[from];
        match first.as_str() {
            "crate" => Some((0, rest)),
            "self" => Some((from, rest)),
            "super" => Some((room.parent?, rest)),
            name if room.children.contains_key(name) => Some((room.children[name], rest)),
            name if depth < 8 && !rest.is_empty() => {
                // A module that was imported; anything else has been counted where it was.
                let imports = &room.module.imports;
                let import = imports.iter().find(|import| {
                    import.name == name && import.path.first().is_some_and(|root| root != name)
                })?;
                Some((self.module_at(from, &import.path, depth + 1)?, rest))
            }
            _ => None,
        }
    }

    /// The module that a path names, if it names one.
    fn module_at(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        let (mut at, rest) = self.begin(from, path, depth)?;
        for name in rest {
            at = match name.as_str() {
                "super" => self.rooms[at].parent?,
                name => match self.rooms[at].children.get(name) {
                    Some(&child) => child,
                    None => {
                        let imports = &self.rooms[at].module.imports;
                        let import = imports.iter().find(|import| import.name == name)?;
                        if depth > 8 {
                            return None;
                        }
                        self.module_at(at, &import.path, depth + 1)?
                    }
                },
            };
        }
        Some(at)
    }

    /// The file that defines `path`, which starts with no module of `at`: this one, or the one that an
    /// import leads to.
    fn defined_in(&self, at: usize, path: &[String], depth: usize) -> Option<&str> {
        let room = &self.rooms[at];
        let own = Some(room.file.as_str());
        if depth > 8 {
            return own;
        }
        let name = &path[0];
        if room.module.declared.contains(name) {
            return own;
        }
        let imports = &room.module.imports;
        if let Some(import) = imports.iter().find(|import| import.name == *name) {
            let mut target = import.path.clone();
            target.extend_from_slice(&path[1..]);
            return self.follow(at, &target, depth + 1);
        }
        let globs = imports.iter().filter_map(|import| {
            let (last, module) = import.path.split_last()?;
            (last == "*").then_some(module)
        });
        for glob in globs {
            let module = self.module_at(at, glob, depth + 1);
            if let Some(module) = module.filter(|&module| self.offers(module, name)) {
                return self.defined_in(module, path, depth + 1);
            }
        }
        own
    }

    /// The file that defines what `path` names in module `from`, through imports only; another crate's
    /// thing is nobody's.
    fn follow(&self, from: usize, path: &[String], depth: usize) -> Option<&str> {
        let (mut at, mut path) = self.begin(from, path, depth)?;
        while let Some(name) = path.first() {
            match self.rooms[at].children.get(name) {
                _ if name == "super" => at = self.rooms[at].parent?,
                Some(&child) => at = child,
                None => return self.defined_in(at, path, depth),
            }
            path = &path[1..];
        }
        None
    }

    /// Whether a glob of this module brings `name`: one that it re-exports, or that its text declares.
    fn offers(&self, module: usize, name: &str) -> bool {
        let room = &self.rooms[module].module;
        room.declared.contains(name) || room.imports.iter().any(|import| import.name == name)
    }
}

/// Files that a walk along `edges`, turned by `turn`, reaches from `start`.
fn reached<'a>(
    start: &'a str,
    edges: &[(&'a str, &'a str)],
    turn: impl Fn(&(&'a str, &'a str)) -> (&'a str, &'a str),
) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut pending = vec![start];
    while let Some(file) = pending.pop() {
        for (from, to) in edges.iter().map(&turn) {
            if from == file && found.insert(to) {
                pending.push(to);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of a crate whose root is `lib.rs`.
    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let files = files.iter();
        let files = files.map(|(path, text)| (format!("src/{path}"), (*text).to_owned()));
        let circles = Crate::read("src/lib.rs", &files.collect()).circles();
        let names = |circle: Circle| circle.files.into_iter().collect();
        circles.into_iter().map(names).collect()
    }

    #[test]
    fn a_planted_circle_is_reported() {
        let root = ("lib.rs", "mod a; mod b; mod c;");
        let leaf = ("c.rs", "pub struct C;");
        let expected = [["src/a.rs", "src/b.rs"]];
        for (a, b) in [
            (
                "use crate::b::B; pub struct A;",
                "use crate::a::A; pub struct B;",
            ),
            ("use super::b::B;", "fn f() { crate::a::g(); }"),
            (
                "use crate::b; fn f() { b::g(); }",
                "use crate::{a::{self as x}, c::C}; fn g() { x::f() }",
            ),
            (
                "pub(crate) fn f() { format!(\"{}\", crate::b::g()) }",
                "use crate::a::*;",
            ),
        ] {
            assert_eq!(
                circles(&[root, leaf, ("a.rs", a), ("b.rs", b)]),
                expected,
                "{a} | {b}"
            );
        }
    }

    #[test]
    fn a_parent_in_a_circle_with_its_child_is_reported() {
        let root = ("lib.rs", "mod a;");
        let parent = "mod b; pub struct A; fn f() { b::g(); }";
        let child = "use super::A; pub fn g() {}";
        let found = circles(&[root, ("a/mod.rs", parent), ("a/b.rs", child)]);
        assert_eq!(found, [["src/a/b.rs", "src/a/mod.rs"]]);
    }

    #[test]
    fn a_reexport_leads_to_the_file_that_defines_the_name() {
        // `d` uses what `b` defines, through `a` and the root, neither of which it uses.
        let files = [
            ("lib.rs", "mod a; mod d; pub use a::B; pub use d::D;"),
            (
                "a/mod.rs",
                "mod b; mod c; pub use b::*; pub(crate) use c::C; use crate::D;",
            ),
            ("a/b.rs", "pub struct B;"),
            ("a/c.rs", "use super::B; pub struct C;"),
            (
                "d.rs",
                "use crate::B; use crate::a::{B as Again, C}; pub struct D;",
            ),
        ];
        assert_eq!(circles(&files), [[""; 0]; 0]);
        let mut planted = files;
        planted[2].1 = "pub struct B; fn f(_: crate::D) {}";
        let expected = [["src/a/b.rs", "src/a/c.rs", "src/d.rs"]];
        // Only `b` and `d` use each other; `c` stands between them.
        let found = circles(&planted);
        assert!(found[0].contains(&expected[0][0].to_owned()), "{found:?}");
        assert!(found[0].contains(&expected[0][2].to_owned()), "{found:?}");
    }

    #[test]
    fn tests_comments_and_strings_use_nothing() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A;"),
            (
                "b.rs",
                "/* use crate::a::A; /* nested */ */ pub struct B; // crate::a::A\n\
                 const X: &str = \"crate::a::A\"; const Y: char = '\"'; const Z: &str = r#\"\"crate::a::A\"#;\n\
                 #[cfg(test)] use crate::a::{A as T}; #[cfg(test)] mod tests { use crate::a::A; }\n\
                 #[cfg(test)] fn f(a: crate::a::A) -> u8 { 1 }",
            ),
        ]);
        assert_eq!(found, [[""; 0]; 0]);
    }
}
