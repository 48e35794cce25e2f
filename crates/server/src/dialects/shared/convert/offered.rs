//! Tools that a request offers: those that its client runs become functions, the others are left out.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use matou_llm::request::ToolUse;
use matou_llm::tools::functions::{Function, FunctionChoice, tool_use};

use crate::error::ApiError;

/// What is logged once is remembered, but not without a bound: clients choose the names.
const MAX_LOGGED: usize = 64;
/// Characters of a name that are logged.
const MAX_NAME: usize = 64;

/// The functions that a request offers, and the tools that it offers in vain: those that would run
/// where its API is at home. An offer is not a demand, so they are only refused where a call of one
/// is demanded.
#[derive(Debug, Default)]
pub(crate) struct Offered {
    /// What the model may call.
    pub(crate) functions: Vec<Function>,
    left_out: Vec<String>,
}

impl Offered {
    /// Takes note of a tool that nobody could run.
    pub(crate) fn leave_out(&mut self, name: &str) {
        static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        let shown: String = name.chars().take(MAX_NAME).collect();
        if logged.len() < MAX_LOGGED && logged.insert(shown.clone()) {
            tracing::info!(
                tool = shown,
                "left out of a request: nobody here can run it"
            );
        }
        self.left_out.push(name.to_owned());
    }

    /// The functions that the model may or must call, if there are any.
    ///
    /// # Errors
    ///
    /// When a tool is demanded that is not there or cannot be run.
    pub(crate) fn tool_use(
        self,
        mut choice: FunctionChoice,
        parallel: bool,
    ) -> Result<Option<ToolUse>, ApiError> {
        let Self {
            functions,
            left_out,
        } = self;
        let is_left_out = |name: &String| {
            left_out.contains(name) && !functions.iter().any(|function| function.name == *name)
        };
        let demands_nothing = match &mut choice {
            FunctionChoice::Named(name) if is_left_out(name) => {
                return Err(cannot_run(std::slice::from_ref(name)));
            }
            FunctionChoice::Allowed { required, names } => {
                names.retain(|name| !is_left_out(name));
                names.is_empty() && !*required && !left_out.is_empty()
            }
            _ => false,
        };
        if demands_nothing {
            return Ok(None);
        }
        let is_demanded = matches!(
            choice,
            FunctionChoice::Required | FunctionChoice::Allowed { required: true, .. }
        );
        let nothing_is_left = functions.is_empty()
            || matches!(&choice, FunctionChoice::Allowed { names, .. } if names.is_empty());
        if is_demanded && nothing_is_left && !left_out.is_empty() {
            return Err(cannot_run(&left_out));
        }
        Ok(tool_use(functions, choice, parallel)?)
    }
}

fn cannot_run(names: &[String]) -> ApiError {
    let message = format!(
        "`tool_choice` demands a call of {}, which runs where this API is at home and not on this \
         server.",
        names.join(", ")
    );
    ApiError::unsupported("tool_choice", message)
}
