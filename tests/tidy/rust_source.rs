//! As much of Rust's grammar as the rules need: the words of a file without its comments, strings and
//! tests; its modules, imports and paths.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

/// A word or a sign; `::` is one sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Word(String),
    Sign(char),
    PathSeparator,
}

impl Token {
    fn is(&self, sign: char) -> bool {
        *self == Token::Sign(sign)
    }

    fn word(&self) -> Option<&str> {
        match self {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// The tokens of a source text. Literals are left out: no path is in them.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().find(|&c| c == '\n');
            }
            '/' if chars.peek() == Some(&'*') => skip_block_comment(&mut chars),
            '"' => skip_string(&mut chars, '"'),
            '\'' => skip_quote(&mut chars),
            ':' if chars.peek() == Some(&':') => {
                chars.next();
                found.push(Token::PathSeparator);
            }
            c if c == '_' || c.is_alphanumeric() => {
                let mut word = String::from(c);
                while let Some(&c) = chars.peek().filter(|&&c| c == '_' || c.is_alphanumeric()) {
                    word.push(c);
                    chars.next();
                }
                let next = chars.peek().copied();
                if matches!(word.as_str(), "r" | "br" | "cr") && matches!(next, Some('"' | '#')) {
                    skip_raw(&mut chars);
                } else if !word.starts_with(|c: char| c.is_ascii_digit()) {
                    found.push(Token::Word(word));
                }
            }
            c if c.is_whitespace() => {}
            c => found.push(Token::Sign(c)),
        }
    }
    found
}

fn skip_block_comment(chars: &mut Peekable<Chars<'_>>) {
    let (mut depth, mut last) = (1, ' ');
    chars.next();
    for c in chars.by_ref() {
        match (last, c) {
            ('*', '/') => depth -= 1,
            ('/', '*') => depth += 1,
            _ => {
                last = c;
                continue;
            }
        }
        last = ' ';
        if depth == 0 {
            return;
        }
    }
}

fn skip_string(chars: &mut Peekable<Chars<'_>>, end: char) {
    while let Some(c) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == end {
            return;
        }
    }
}

/// Past a character literal; a lifetime has no closing quote.
fn skip_quote(chars: &mut Peekable<Chars<'_>>) {
    let mut ahead = chars.clone();
    if ahead.next() == Some('\\') || ahead.next() == Some('\'') {
        skip_string(chars, '\'');
    }
}

/// Past a raw string; a raw identifier only loses its `r#`.
fn skip_raw(chars: &mut Peekable<Chars<'_>>) {
    let mut hashes = 0;
    while chars.next_if_eq(&'#').is_some() {
        hashes += 1;
    }
    if chars.next_if_eq(&'"').is_none() {
        return;
    }
    while chars.by_ref().any(|c| c == '"') {
        if (0..hashes).all(|_| chars.next_if_eq(&'#').is_some()) {
            return;
        }
    }
}

/// A module that has no file of its own is part of the one around it.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// `mod name;`, in files of their own.
    pub files: Vec<String>,
    /// `mod name { … }`.
    pub inline: Vec<(String, Module)>,
    /// Public modules among both.
    pub public: Vec<String>,
    /// Names of types, functions and other items.
    pub declared: BTreeSet<String>,
    /// Names that `use` brings in.
    pub imports: Vec<Import>,
    /// Paths in the code, first segment to last.
    pub paths: Vec<Vec<String>>,
}

/// One leaf of a `use` tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// What is imported; `*` at the end for everything.
    pub path: Vec<String>,
    /// Its name here.
    pub name: String,
    /// `pub use` and `pub(crate) use`.
    pub is_reexport: bool,
}

/// Words before the name of an item.
const DECLARES: [&str; 8] = [
    "fn", "struct", "enum", "trait", "type", "const", "static", "union",
];

/// The module that a text is, without what only tests see.
pub(crate) fn parse(text: &str) -> Module {
    let mut module = Module::default();
    read_module(&tokens(text), &mut module);
    module
}

fn read_module(tokens: &[Token], module: &mut Module) {
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].is('#') {
            let end = attribute_end(tokens, at);
            at = if is_for_tests(&tokens[at..end]) {
                item_end(tokens, end)
            } else {
                end
            };
            continue;
        }
        let word = tokens[at].word();
        let named = tokens.get(at + 1).and_then(Token::word);
        match (word, named) {
            (Some("use"), _) => {
                let end = position(tokens, at, |token| token.is(';'));
                let is_reexport = at > 0 && is_public(&tokens[..at]);
                let mut leaves = Vec::new();
                read_use(&tokens[at + 1..end], Vec::new(), &mut leaves);
                module
                    .imports
                    .extend(leaves.into_iter().map(|(path, name)| Import {
                        path,
                        name,
                        is_reexport,
                    }));
                at = end;
            }
            (Some("mod"), Some(name)) => {
                if at > 0 && tokens[at - 1].word() == Some("pub") {
                    module.public.push(name.to_owned());
                }
                if tokens.get(at + 2).is_some_and(|token| token.is('{')) {
                    let end = group_end(tokens, at + 2);
                    let mut inner = Module::default();
                    read_module(&tokens[at + 3..end - 1], &mut inner);
                    module.inline.push((name.to_owned(), inner));
                    at = end;
                } else {
                    module.files.push(name.to_owned());
                    at += 2;
                }
            }
            (Some(keyword), Some(name)) if DECLARES.contains(&keyword) => {
                module.declared.insert(name.to_owned());
                at += 2;
            }
            (Some(first), _) => {
                let mut path = vec![first.to_owned()];
                let follows = |at: usize| match (tokens.get(at), tokens.get(at + 1)) {
                    (Some(Token::PathSeparator), Some(Token::Word(word))) => Some(word.clone()),
                    _ => None,
                };
                at += 1;
                while let Some(word) = follows(at) {
                    path.push(word);
                    at += 2;
                }
                if path.len() > 1 {
                    module.paths.push(path);
                }
            }
            _ => at += 1,
        }
    }
}

/// Whether what is about to be declared is `pub` in some way.
fn is_public(before: &[Token]) -> bool {
    let before = match before {
        [rest @ .., Token::Sign(')')] => {
            let open = rest.iter().rposition(|token| token.is('('));
            &rest[..open.unwrap_or(0)]
        }
        all => all,
    };
    before.last().and_then(Token::word) == Some("pub")
}

fn read_use(tree: &[Token], base: Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    let mut path = base;
    let mut at = 0;
    while at < tree.len() {
        match &tree[at] {
            Token::Word(word) if word == "as" => {
                path.pop_if(|last| last == "self");
                let name = tree.get(at + 1).and_then(Token::word).unwrap_or("_");
                found.push((path, name.to_owned()));
                return;
            }
            Token::Word(word) => path.push(word.clone()),
            Token::Sign('*') => path.push("*".to_owned()),
            Token::Sign('{') => {
                let mut start = at + 1;
                let end = group_end(tree, at) - 1;
                let mut depth = 0;
                for here in at + 1..=end {
                    match &tree[here] {
                        Token::Sign('{') => depth += 1,
                        Token::Sign('}') if here < end => depth -= 1,
                        Token::Sign(',') if depth > 0 => {}
                        Token::Sign(',' | '}') => {
                            read_use(&tree[start..here], path.clone(), found);
                            start = here + 1;
                        }
                        _ => {}
                    }
                }
                return;
            }
            _ => {}
        }
        at += 1;
    }
    if path.len() > 1 {
        path.pop_if(|last| last == "self");
    }
    if let Some(name) = path.last().cloned() {
        found.push((path, name));
    }
}

fn position(tokens: &[Token], from: usize, is_it: impl Fn(&Token) -> bool) -> usize {
    let rest = tokens[from..].iter().position(is_it);
    rest.map_or(tokens.len(), |found| from + found)
}

/// Just past the group that opens at `at`.
fn group_end(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0;
    for (here, token) in tokens.iter().enumerate().skip(at) {
        match token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return here + 1;
        }
    }
    tokens.len()
}

fn attribute_end(tokens: &[Token], at: usize) -> usize {
    let open = if tokens.get(at + 1).is_some_and(|token| token.is('!')) {
        at + 2
    } else {
        at + 1
    };
    if tokens.get(open).is_some_and(|token| token.is('[')) {
        group_end(tokens, open)
    } else {
        at + 1
    }
}

/// `#[cfg(test)]`, `#[test]`.
fn is_for_tests(attribute: &[Token]) -> bool {
    let words: Vec<_> = attribute.iter().filter_map(Token::word).collect();
    matches!(words.as_slice(), ["test"] | ["cfg", "test"])
}

/// Just past the item, field or statement that begins at `at`.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while tokens.get(at).is_some_and(|token| token.is('#')) {
        at = attribute_end(tokens, at);
    }
    let items = [
        "pub", "fn", "mod", "use", "struct", "enum", "impl", "const", "static", "type", "trait",
        "unsafe", "async", "extern",
    ];
    let first = tokens.get(at).and_then(Token::word).unwrap_or_default();
    let is_item = items.contains(&first);
    let is_use = tokens[at..]
        .iter()
        .take(6)
        .any(|token| token.word() == Some("use"))
        && !tokens[at..].iter().take(6).any(|token| token.is('{'));
    while at < tokens.len() {
        match &tokens[at] {
            Token::Sign(';') => return at + 1,
            Token::Sign(',') if !is_item => return at + 1,
            Token::Sign('}' | ')' | ']') => return at,
            Token::Sign('{') if !is_use => return group_end(tokens, at),
            Token::Sign('(' | '[' | '{') => at = group_end(tokens, at),
            _ => at += 1,
        }
    }
    at
}
