//! A grammar between the two notations.

/// Rules by index, and which of them is `root`.
pub(super) struct Rules {
    pub(super) bodies: Vec<Expr>,
    pub(super) root: usize,
}

/// What is on the right of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Literal(String),
    Class {
        negated: bool,
        /// First and last character, inclusive.
        ranges: Vec<(char, char)>,
    },
    AnyChar,
    /// Index of the rule.
    Rule(usize),
    /// A token by name or id, in angle brackets.
    Token(String),
    Sequence(Vec<Expr>),
    Alternatives(Vec<Expr>),
    Repeat {
        inner: Box<Expr>,
        min: u32,
        max: Option<u32>,
    },
}
