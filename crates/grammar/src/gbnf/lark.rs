//! Writes Lark.

use super::expr::{Expr, Rules};
use crate::lark::literal;

pub(super) fn write(rules: &Rules) -> String {
    let regular = fixpoint(&rules.bodies, is_regular);
    let mut writer = Writer {
        nullable: fixpoint(&rules.bodies, is_nullable),
        regular,
        lines: Vec::new(),
        runs: 0,
    };
    let start = writer.rule(&Expr::Rule(rules.root));
    writer.lines.push(format!("start: {start}"));
    for (index, body) in rules.bodies.iter().enumerate() {
        let line = if writer.regular[index] {
            format!("T{index}: {}", writer.terminal(body))
        } else {
            format!("r{index}: {}", writer.rule(body))
        };
        writer.lines.push(line);
    }
    writer.lines.join("\n")
}

/// The rules that have a property which follows from that of the rules they refer to.
fn fixpoint(bodies: &[Expr], property: impl Fn(&Expr, &[bool]) -> bool) -> Vec<bool> {
    let mut known = vec![false; bodies.len()];
    loop {
        let mut changed = false;
        for (index, body) in bodies.iter().enumerate() {
            if !known[index] && property(body, &known) {
                known[index] = true;
                changed = true;
            }
        }
        if !changed {
            return known;
        }
    }
}

/// Whether it can be a terminal: it leads neither to itself nor to a token.
fn is_regular(expr: &Expr, regular: &[bool]) -> bool {
    match expr {
        Expr::Literal(_) | Expr::Class { .. } | Expr::AnyChar => true,
        Expr::Rule(index) => regular[*index],
        Expr::Token(_) => false,
        Expr::Sequence(items) | Expr::Alternatives(items) => {
            items.iter().all(|item| is_regular(item, regular))
        }
        Expr::Repeat { inner, .. } => is_regular(inner, regular),
    }
}

/// Whether it matches the empty text.
fn is_nullable(expr: &Expr, nullable: &[bool]) -> bool {
    match expr {
        Expr::Literal(text) => text.is_empty(),
        Expr::Class { .. } | Expr::AnyChar | Expr::Token(_) => false,
        Expr::Rule(index) => nullable[*index],
        Expr::Sequence(items) => items.iter().all(|item| is_nullable(item, nullable)),
        Expr::Alternatives(items) => items.iter().any(|item| is_nullable(item, nullable)),
        Expr::Repeat { inner, min, .. } => *min == 0 || is_nullable(inner, nullable),
    }
}

struct Writer {
    regular: Vec<bool>,
    nullable: Vec<bool>,
    lines: Vec<String>,
    /// Terminals made of parts of rules.
    runs: usize,
}

impl Writer {
    /// The expression inside of a rule. Its regular parts become terminals.
    fn rule(&mut self, expr: &Expr) -> String {
        if is_regular(expr, &self.regular) {
            return self.run(std::slice::from_ref(expr));
        }
        match expr {
            Expr::Rule(index) => format!("r{index}"),
            Expr::Token(token) => token.clone(),
            Expr::Alternatives(items) => {
                let items: Vec<String> = items.iter().map(|item| self.rule(item)).collect();
                format!("({})", items.join(" | "))
            }
            Expr::Repeat { inner, min, max } => {
                format!("({}){}", self.rule(inner), bounds(*min, *max))
            }
            Expr::Sequence(items) => {
                let mut written = Vec::new();
                let regular = self.regular.clone();
                let same = |a: &Expr, b: &Expr| is_regular(a, &regular) && is_regular(b, &regular);
                for run in items.chunk_by(same) {
                    written.push(match run {
                        [item] => self.rule(item),
                        items => self.run(items),
                    });
                }
                format!("({})", written.join(" "))
            }
            Expr::Literal(_) | Expr::Class { .. } | Expr::AnyChar => {
                self.run(std::slice::from_ref(expr))
            }
        }
    }

    /// A terminal for regular expressions in a row. The lexer has no empty lexemes, so that a
    /// terminal which may be empty is an optional one that is not.
    fn run(&mut self, items: &[Expr]) -> String {
        if items.is_empty() || items == [Expr::Literal(String::new())] {
            return "\"\"".to_owned();
        }
        let name = format!("RUN{}", self.runs);
        self.runs += 1;
        let parts: Vec<String> = items.iter().map(|item| self.terminal(item)).collect();
        let body = parts.join(" ");
        if !items.iter().all(|item| is_nullable(item, &self.nullable)) {
            self.lines.push(format!("{name}: {body}"));
            return name;
        }
        self.lines.push(format!("{name}: ({body}) & /(?s:.+)/"));
        format!("{name}?")
    }

    /// The expression inside of a terminal.
    fn terminal(&self, expr: &Expr) -> String {
        let join = |items: &[Expr], separator: &str| {
            let items: Vec<String> = items.iter().map(|item| self.terminal(item)).collect();
            match items.is_empty() {
                true => "\"\"".to_owned(),
                false => format!("({})", items.join(separator)),
            }
        };
        match expr {
            Expr::Literal(text) => literal(text),
            Expr::Class { negated, ranges } => class(*negated, ranges),
            Expr::AnyChar => "/(?s:.)/".to_owned(),
            Expr::Rule(index) => format!("T{index}"),
            // A token makes every rule that leads to it one that is not regular.
            Expr::Token(token) => token.clone(),
            Expr::Sequence(items) => join(items, " "),
            Expr::Alternatives(items) => join(items, " | "),
            Expr::Repeat { inner, min, max } => {
                format!("({}){}", self.terminal(inner), bounds(*min, *max))
            }
        }
    }
}

fn bounds(min: u32, max: Option<u32>) -> String {
    match (min, max) {
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (0, Some(1)) => "?".to_owned(),
        (min, None) => format!("{{{min},}}"),
        (min, Some(max)) => format!("{{{min},{max}}}"),
    }
}

fn class(negated: bool, ranges: &[(char, char)]) -> String {
    let mut class = String::from(if negated { "/[^" } else { "/[" });
    for (first, last) in ranges {
        class.push_str(&format!("\\u{{{:X}}}", u32::from(*first)));
        if first != last {
            class.push_str(&format!("-\\u{{{:X}}}", u32::from(*last)));
        }
    }
    class.push_str("]/");
    class
}
