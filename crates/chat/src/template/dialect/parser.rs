//! Jinja2's grammar of expressions, as far as to know the operands of its operators.

use super::tokens::{Edit, Kind, Token};

/// How deeply expressions may be nested; a tag with a deeper one is left as it is.
const MAX_DEPTH: usize = 64;

/// Where an operand begins and ends.
type Span = (usize, usize);

/// Reads an expression and collects what is to be edited in it.
pub(super) struct Parser<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    depth: usize,
    edits: Vec<Edit>,
}

impl<'t, 'a> Parser<'t, 'a> {
    pub(super) fn new(tokens: &'t [Token<'a>]) -> Self {
        Self {
            tokens,
            at: 0,
            depth: 0,
            edits: Vec::new(),
        }
    }

    /// The edits, if everything has been read.
    pub(super) fn finish(self) -> Option<Vec<Edit>> {
        (self.at == self.tokens.len()).then_some(self.edits)
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    /// Whether the next token is this operator or keyword.
    fn sees(&self, text: &str) -> bool {
        self.peek()
            .is_some_and(|token| token.kind != Kind::Text && token.text == text)
    }

    fn skips(&mut self, text: &str) -> bool {
        let sees = self.sees(text);
        self.at += usize::from(sees);
        sees
    }

    fn expect(&mut self, text: &str) -> Option<()> {
        self.skips(text).then_some(())
    }

    fn insert(&mut self, at: usize, text: &str) {
        self.replace(at, at, text);
    }

    fn replace(&mut self, start: usize, end: usize, text: &str) {
        let text = text.to_owned();
        self.edits.push(Edit { start, end, text });
    }

    fn last_end(&self) -> usize {
        self.tokens[self.at - 1].end()
    }

    /// Goes a level deeper, unless it is too deep.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Expressions with commas between them: one, or a tuple.
    pub(super) fn expressions(&mut self) -> Option<()> {
        loop {
            self.ternary()?;
            if !self.skips(",") || self.peek().is_none() {
                return Some(());
            }
        }
    }

    /// Behind `for`.
    pub(super) fn for_loop(&mut self) -> Option<()> {
        while !self.skips("in") {
            self.next()?;
        }
        let start = self.peek()?.start;
        self.logic()?;
        let is_tuple = self.sees(",");
        while self.skips(",") {
            self.logic()?;
        }
        if is_tuple {
            let end = self.last_end();
            self.insert(start, "(");
            self.insert(end, ")");
        }
        if self.skips("if") {
            self.ternary()?;
        }
        self.skips("recursive");
        Some(())
    }

    /// Behind `set`.
    pub(super) fn assignment(&mut self) -> Option<()> {
        while !self.skips("=") {
            let token = self.next()?;
            if token.kind != Kind::Name && !matches!(token.text, "," | "." | "(" | ")") {
                return None;
            }
        }
        self.expressions()
    }

    pub(super) fn ternary(&mut self) -> Option<()> {
        self.nested(|this| {
            this.logic()?;
            while this.skips("if") {
                this.logic()?;
                if this.skips("else") {
                    this.ternary()?;
                }
            }
            Some(())
        })
    }

    /// `or`, `and` and `not`, which leave their operands alone.
    fn logic(&mut self) -> Option<()> {
        loop {
            while self.skips("not") {}
            self.comparison()?;
            if !self.skips("and") && !self.skips("or") {
                return Some(());
            }
        }
    }

    fn comparison(&mut self) -> Option<()> {
        let (start, mut end) = self.sum()?;
        let mut operators = Vec::new();
        while let Some(token) = self.peek() {
            let operator = match token.text {
                _ if token.kind == Kind::Text => break,
                "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" => token.text,
                "not" => "not in",
                _ => break,
            };
            self.at += 1;
            if operator == "not in" {
                self.expect("in")?;
            }
            operators.push((operator, token.start, self.last_end()));
            end = self.sum()?.1;
        }
        // Equality is the same everywhere.
        if operators.iter().all(|(it, ..)| matches!(*it, "==" | "!=")) {
            return Some(());
        }
        self.insert(start, "(");
        for (index, (operator, start, end)) in operators.into_iter().enumerate() {
            let before = if index == 0 { ")|__compare(" } else { ", " };
            self.replace(start, end, &format!("{before}\"{operator}\","));
        }
        self.insert(end, ")");
        Some(())
    }

    /// `+`, `-` and `~`, which are minijinja's as well.
    fn sum(&mut self) -> Option<Span> {
        let (start, mut end) = self.product()?;
        while self.skips("+") || self.skips("-") || self.skips("~") {
            end = self.product()?.1;
        }
        Some((start, end))
    }

    fn product(&mut self) -> Option<Span> {
        let (start, mut end) = self.power()?;
        while let Some(operator) = self.peek() {
            match operator.text {
                "*" | "/" | "//" if operator.kind == Kind::Operator => {
                    self.at += 1;
                    end = self.power()?.1;
                }
                "%" if operator.kind == Kind::Operator => {
                    self.at += 1;
                    end = self.power()?.1;
                    self.insert(start, "(");
                    self.replace(operator.start, operator.end(), ")|__mod(");
                    self.insert(end, ")");
                }
                _ => break,
            }
        }
        Some((start, end))
    }

    fn power(&mut self) -> Option<Span> {
        let (start, mut end) = self.unary(true)?;
        while self.skips("**") {
            end = self.unary(true)?.1;
        }
        Some((start, end))
    }

    fn unary(&mut self, with_filters: bool) -> Option<Span> {
        let first = self.peek()?;
        if self.skips("-") {
            self.nested(|this| this.unary(false))?;
        } else if self.skips("+") {
            let (_, end) = self.nested(|this| this.unary(false))?;
            self.replace(first.start, first.end(), "((");
            self.insert(end, ")|__pos)");
        } else {
            self.primary()?;
        }
        self.postfix()?;
        if with_filters {
            self.filters_and_tests()?;
        }
        Some((first.start, self.last_end()))
    }

    fn primary(&mut self) -> Option<()> {
        let token = self.next()?;
        match (token.kind, token.text) {
            (Kind::Text, _) => {
                while self.peek().is_some_and(|next| next.kind == Kind::Text) {
                    self.at += 1;
                }
                Some(())
            }
            (Kind::Name | Kind::Number, _) => Some(()),
            (_, "(") => self.items(")", Self::ternary),
            (_, "[") => self.items("]", Self::ternary),
            (_, "{") => self.items("}", |this| {
                this.ternary()?;
                this.expect(":")?;
                this.ternary()
            }),
            _ => None,
        }
    }

    /// Items with commas between them, up to the bracket that ends them.
    fn items(&mut self, end: &str, item: impl Fn(&mut Self) -> Option<()>) -> Option<()> {
        while !self.skips(end) {
            item(self)?;
            if !self.skips(",") {
                return self.expect(end);
            }
        }
        Some(())
    }

    fn postfix(&mut self) -> Option<()> {
        loop {
            if self.skips(".") {
                self.next().filter(|token| token.kind != Kind::Text)?;
            } else if self.skips("[") {
                self.subscript()?;
            } else if self.skips("(") {
                self.arguments()?;
            } else {
                return Some(());
            }
        }
    }

    /// Behind `[`: an index, or a slice.
    fn subscript(&mut self) -> Option<()> {
        while !self.skips("]") {
            if !self.skips(":") {
                self.ternary()?;
            }
        }
        Some(())
    }

    /// Behind `(`.
    fn arguments(&mut self) -> Option<()> {
        self.items(")", |this| {
            let is_keyword = this.tokens.get(this.at + 1).is_some_and(|t| t.text == "=");
            if is_keyword && this.next()?.kind != Kind::Name {
                return None;
            }
            let _ = this.skips("=") || this.skips("*") || this.skips("**");
            this.ternary()
        })
    }

    fn filters_and_tests(&mut self) -> Option<()> {
        loop {
            if self.skips("|") {
                self.name()?;
                if self.skips("(") {
                    self.arguments()?;
                }
            } else if self.skips("is") {
                self.skips("not");
                self.name()?;
                if self.skips("(") {
                    self.arguments()?;
                } else if self.begins_argument() {
                    self.primary()?;
                    self.postfix()?;
                }
            } else {
                return Some(());
            }
        }
    }

    fn name(&mut self) -> Option<()> {
        loop {
            self.next().filter(|token| token.kind == Kind::Name)?;
            if !self.skips(".") {
                return Some(());
            }
        }
    }

    /// Whether an argument of a test follows, which needs no brackets.
    fn begins_argument(&self) -> bool {
        self.peek().is_some_and(|token| match token.kind {
            Kind::Name => !matches!(
                token.text,
                "and" | "or" | "else" | "is" | "if" | "in" | "not"
            ),
            Kind::Text | Kind::Number => true,
            Kind::Operator => matches!(token.text, "[" | "{"),
        })
    }
}
