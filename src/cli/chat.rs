//! `matou chat`: a conversation in the terminal, or line by line through a pipe.

mod command;
mod input;

use std::io::{self, IsTerminal};

use anyhow::{Result, bail};
use clap::Args;
use matou_hub::HubOptions;
use serde_json::{Value, json};

use super::options::ModelArgs;
use super::session::{SamplingArgs, Session, stream};
use super::terminal::{Display, Terminal, print, remark};
use command::{Command, HELP, describe_sampling};
use input::{Input, Said};

/// Options of `matou chat`.
#[derive(Debug, Args)]
#[command(
    after_help = "While you chat: /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves. \
Without a terminal, every line of standard input is a message."
)]
pub struct ChatArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// Instructions that the whole conversation begins with.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Runs the command until the person leaves.
pub(super) async fn run(args: ChatArgs) -> Result<()> {
    let session = Session::open(
        "matou chat",
        args.model.model.as_deref(),
        &args.model.options,
        &args.sampling,
    )
    .await?;
    if !session.can_chat() {
        bail!("this model has no chat template; `matou run --raw` lets it continue a text");
    }
    let interactive = io::stdin().is_terminal();
    if interactive {
        remark(&session.described);
        remark("Say something. /help lists the commands, Ctrl-D leaves.");
    }
    let history = HubOptions::from_env()?.cache_dir.join("chat-history");
    let mut input = if interactive {
        Input::terminal(history)?
    } else {
        Input::pipe()
    };
    let mut chat = Chat {
        session,
        system: args.system,
        messages: Vec::new(),
        interactive,
    };
    let mut display = Terminal::default();
    loop {
        let said;
        (input, said) = input.next().await?;
        let outcome = match said {
            Said::End => break,
            Said::Nothing => continue,
            Said::Command(Command::Leave) => break,
            Said::Command(command) => chat.obey(command, &mut display).await,
            Said::Message(text) => chat.converse(text, &mut display).await,
        };
        match outcome {
            Err(error) if interactive => eprintln!("error: {error:#}"),
            other => other?,
        }
    }
    Ok(())
}

/// A conversation.
struct Chat {
    session: Session,
    system: Option<String>,
    /// What was said, without the system's instructions; a user's message and an answer in turn.
    messages: Vec<Value>,
    interactive: bool,
}

impl Chat {
    async fn obey(&mut self, command: Command, display: &mut impl Display) -> Result<()> {
        match command {
            Command::Help => println!("{HELP}"),
            Command::ShowSystem => {
                println!("{}", self.system.as_deref().unwrap_or("(no instructions)"))
            }
            Command::System(text) => {
                self.system = Some(text).filter(|text| text != "none");
                self.messages.clear();
                remark("A new conversation with these instructions.");
            }
            Command::Reset => {
                self.messages.clear();
                remark("A new conversation.");
            }
            Command::Retry => {
                // Errors below leave the conversation as it was before the last message.
                self.messages.pop();
                let Some(last) = self.messages.pop() else {
                    bail!("there is no answer to try again")
                };
                let text = last["content"].as_str().unwrap_or_default().to_owned();
                self.converse(text, display).await?;
            }
            Command::ShowSampling => println!("{}", describe_sampling(&self.session.sampling)),
            Command::Set(args) => {
                self.session.set_sampling(&args)?;
                remark(&describe_sampling(&self.session.sampling));
            }
            Command::Wrong(reason) => bail!(reason),
            Command::Leave => {}
        }
        Ok(())
    }

    /// Answers a message. The conversation only grows if there is an answer, and by what was said: what
    /// the model thought before is not shown to it again.
    async fn converse(&mut self, text: String, display: &mut impl Display) -> Result<()> {
        let system = self
            .system
            .iter()
            .map(|text| json!({"role": "system", "content": text}));
        let user = json!({"role": "user", "content": text});
        let messages: Vec<Value> = system
            .chain(self.messages.iter().cloned())
            .chain([user.clone()])
            .collect();
        let answering = self.session.answer(messages)?;
        let answer = if self.interactive {
            stream(answering, display, interrupted()).await?
        } else {
            stream(answering, display, std::future::pending()).await?
        };
        print("\n")?;
        let used = answer.prompt_tokens + answer.completion_tokens;
        let room = format!("context {used}/{}", self.session.llm.max_model_len());
        remark(&format!("{} · {room}\n", answer.figures()));
        self.messages
            .extend([user, json!({"role": "assistant", "content": answer.text})]);
        Ok(())
    }
}

/// Resolves on Ctrl-C. From the first call on, Ctrl-C no longer ends the program by itself.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without signals the answer just runs to its end.
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use matou_testkit::speller::{THINKING, speller};

    use super::*;

    /// Keeps what is shown.
    #[derive(Default)]
    struct Shown {
        text: String,
        thoughts: String,
    }

    impl Display for Shown {
        fn text(&mut self, text: &str) -> io::Result<()> {
            self.text.push_str(text);
            Ok(())
        }

        fn thought(&mut self, text: &str) -> io::Result<()> {
            self.thoughts.push_str(text);
            Ok(())
        }
    }

    #[tokio::test]
    async fn thoughts_are_shown_apart_and_not_sent_back() {
        let llm = speller("It is a cat.\n</think>\n\nMiaow.", THINKING);
        let session = Session::new("scripted".to_owned(), llm, &SamplingArgs::default()).unwrap();
        let mut chat = Chat {
            session,
            system: None,
            messages: Vec::new(),
            interactive: false,
        };
        for turn in 1..=2 {
            let mut shown = Shown::default();
            chat.converse("Who is there?".to_owned(), &mut shown)
                .await
                .unwrap();
            assert_eq!(shown.text, "Miaow.");
            assert_eq!(shown.thoughts.trim(), "It is a cat.");
            assert_eq!(chat.messages.len(), 2 * turn);
        }
        let history = Value::Array(chat.messages).to_string();
        assert!(history.contains("Miaow."), "{history}");
        assert!(!history.contains("It is a cat"), "{history}");
    }
}
