//! Reads GBNF.

use std::collections::HashMap;

use super::expr::{Expr, Rules};

type Result<T> = std::result::Result<T, String>;

pub(super) fn parse(source: &str) -> Result<Rules> {
    let mut parser = Parser {
        rest: source,
        source,
        indices: HashMap::new(),
        bodies: Vec::new(),
    };
    parser.skip_blank(true);
    while !parser.rest.is_empty() {
        parser.rule()?;
    }
    let Parser {
        indices, bodies, ..
    } = parser;
    let missing = |name: &str| format!("the rule `{name}` is not defined");
    let root = *indices.get("root").ok_or_else(|| missing("root"))?;
    let mut names = vec![""; bodies.len()];
    for (name, index) in &indices {
        names[*index] = name;
    }
    let bodies = bodies
        .into_iter()
        .zip(names)
        .map(|(body, name)| body.ok_or_else(|| missing(name)))
        .collect::<Result<_>>()?;
    Ok(Rules { bodies, root })
}

struct Parser<'a> {
    rest: &'a str,
    source: &'a str,
    indices: HashMap<&'a str, usize>,
    /// `None` for a rule that was referred to, but not defined so far.
    bodies: Vec<Option<Expr>>,
}

impl<'a> Parser<'a> {
    fn rule(&mut self) -> Result<()> {
        let name = self.name().ok_or_else(|| self.error("a rule's name"))?;
        let index = self.index(name);
        self.skip_blank(false);
        if !self.eat("::=") {
            return Err(self.error("`::=`"));
        }
        self.skip_blank(true);
        let body = self.alternatives(false)?;
        self.bodies[index] = Some(body);
        if !self.rest.is_empty() && !self.rest.starts_with(['\n', '\r']) {
            return Err(self.error("the end of the rule"));
        }
        self.skip_blank(true);
        Ok(())
    }

    /// Inside of parentheses, an expression goes on over line ends; outside, only after a `|` or
    /// in front of one.
    fn alternatives(&mut self, nested: bool) -> Result<Expr> {
        let mut alternatives = vec![self.sequence(nested)?];
        loop {
            let before = self.rest;
            self.skip_blank(true);
            if !self.eat("|") {
                self.rest = if nested { self.rest } else { before };
                break;
            }
            self.skip_blank(true);
            alternatives.push(self.sequence(nested)?);
        }
        Ok(match alternatives.len() {
            1 => alternatives.remove(0),
            _ => Expr::Alternatives(alternatives),
        })
    }

    fn sequence(&mut self, nested: bool) -> Result<Expr> {
        let mut items = Vec::new();
        while let Some(item) = self.item()? {
            let item = self.repetitions(item)?;
            items.push(item);
            self.skip_blank(nested);
        }
        Ok(match items.len() {
            1 => items.remove(0),
            _ => Expr::Sequence(items),
        })
    }

    fn item(&mut self) -> Result<Option<Expr>> {
        let Some(first) = self.rest.chars().next() else {
            return Ok(None);
        };
        Ok(Some(match first {
            '"' => self.literal()?,
            '[' => self.class()?,
            '.' => {
                self.rest = &self.rest[1..];
                Expr::AnyChar
            }
            '(' => {
                self.rest = &self.rest[1..];
                self.skip_blank(true);
                let inner = self.alternatives(true)?;
                self.skip_blank(true);
                if !self.eat(")") {
                    return Err(self.error("`)`"));
                }
                inner
            }
            '<' => {
                let end = self.rest.find('>').ok_or_else(|| self.error("`>`"))?;
                let (token, rest) = self.rest.split_at(end + 1);
                if token.contains(char::is_whitespace) {
                    return Err(self.error("a token in angle brackets"));
                }
                self.rest = rest;
                Expr::Token(token.to_owned())
            }
            '!' => return Err(self.error("something else: negated tokens are not supported;")),
            _ => match self.name() {
                Some(name) => Expr::Rule(self.index(name)),
                None => return Ok(None),
            },
        }))
    }

    fn repetitions(&mut self, mut item: Expr) -> Result<Expr> {
        loop {
            let (min, max) = match self.rest.chars().next() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    let bounds = self.bounds()?;
                    item = repeat(item, bounds);
                    continue;
                }
                _ => return Ok(item),
            };
            self.rest = &self.rest[1..];
            item = repeat(item, (min, max));
        }
    }

    /// `{m}`, `{m,}`, `{,n}` or `{m,n}`.
    fn bounds(&mut self) -> Result<(u32, Option<u32>)> {
        let error = || self.error("a repetition such as {2,5}");
        let end = self.rest.find('}').ok_or_else(error)?;
        let inside = &self.rest[1..end];
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| error());
        let bounds = match inside.split_once(',') {
            None => {
                let exactly = number(inside)?;
                (exactly, Some(exactly))
            }
            Some((min, max)) => {
                let min = if min.trim().is_empty() {
                    0
                } else {
                    number(min)?
                };
                let max = match max.trim() {
                    "" => None,
                    max => Some(number(max)?),
                };
                (min, max)
            }
        };
        if bounds.1.is_some_and(|max| max < bounds.0) {
            return Err(error());
        }
        self.rest = &self.rest[end + 1..];
        Ok(bounds)
    }

    fn literal(&mut self) -> Result<Expr> {
        self.rest = &self.rest[1..];
        let mut text = String::new();
        while !self.eat("\"") {
            text.push(self.character()?);
        }
        Ok(Expr::Literal(text))
    }

    fn class(&mut self) -> Result<Expr> {
        self.rest = &self.rest[1..];
        let negated = self.eat("^");
        let mut ranges = Vec::new();
        while !self.eat("]") {
            let first = self.character()?;
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            let last = if is_range {
                self.rest = &self.rest[1..];
                self.character()?
            } else {
                first
            };
            if first > last {
                return Err(self.error("a range in ascending order"));
            }
            ranges.push((first, last));
        }
        if ranges.is_empty() {
            return Err(self.error("a character inside of [ ]"));
        }
        Ok(Expr::Class { negated, ranges })
    }

    /// One character of a literal or class, or its escape.
    fn character(&mut self) -> Result<char> {
        let mut chars = self.rest.chars();
        let first = chars.next().filter(|c| !matches!(c, '\n' | '\r'));
        let first = first.ok_or_else(|| self.error("the end of the literal"))?;
        self.rest = chars.as_str();
        if first != '\\' {
            return Ok(first);
        }
        let escape = chars.next().ok_or_else(|| self.error("an escape"))?;
        self.rest = chars.as_str();
        Ok(match escape {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'x' => self.hex(2)?,
            'u' => self.hex(4)?,
            'U' => self.hex(8)?,
            '\\' | '"' | '[' | ']' | '-' | '^' | '/' => escape,
            _ => return Err(self.error("an escape that GBNF knows before this:")),
        })
    }

    fn hex(&mut self, digits: usize) -> Result<char> {
        let error = || self.error(&format!("{digits} hexadecimal digits of a character"));
        let code = self.rest.get(..digits).ok_or_else(error)?;
        let code = u32::from_str_radix(code, 16).map_err(|_| error())?;
        let character = char::from_u32(code).ok_or_else(error)?;
        self.rest = &self.rest[digits..];
        Ok(character)
    }

    fn name(&mut self) -> Option<&'a str> {
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let end = self.rest.find(|c| !in_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() {
            return None;
        }
        self.rest = rest;
        Some(name)
    }

    fn index(&mut self, name: &'a str) -> usize {
        let next = self.bodies.len();
        let index = *self.indices.entry(name).or_insert(next);
        if index == next {
            self.bodies.push(None);
        }
        index
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Skips spaces and comments, and line ends too if `lines`.
    fn skip_blank(&mut self, lines: bool) {
        loop {
            let blank = |c: char| matches!(c, ' ' | '\t') || lines && matches!(c, '\n' | '\r');
            self.rest = self.rest.trim_start_matches(blank);
            if !self.rest.starts_with('#') {
                return;
            }
            let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
        }
    }

    fn error(&self, expected: &str) -> String {
        let at = self.source.len() - self.rest.len();
        let line = self.source[..at].matches('\n').count() + 1;
        let found: String = self.rest.chars().take(20).collect();
        match found.is_empty() {
            true => format!("line {line}: expected {expected}, found the end"),
            false => format!("line {line}: expected {expected} at {found:?}"),
        }
    }
}

fn repeat(inner: Expr, (min, max): (u32, Option<u32>)) -> Expr {
    Expr::Repeat {
        inner: Box::new(inner),
        min,
        max,
    }
}
