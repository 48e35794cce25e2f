//! `matou chat`: a conversation in the terminal, or line by line through a pipe.

mod command;
mod input;

use std::io::{self, IsTerminal};

use anyhow::{Result, bail};
use clap::Args;
use matou_hub::HubOptions;
use serde_json::{Value, json};

use super::ModelArgs;
use super::session::{SamplingArgs, Session, print, remark, stream};
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
pub async fn run(args: ChatArgs) -> Result<()> {
    let session = Session::open(
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
    loop {
        let said;
        (input, said) = input.next().await?;
        let outcome = match said {
            Said::End => break,
            Said::Nothing => continue,
            Said::Command(Command::Leave) => break,
            Said::Command(command) => chat.obey(command).await,
            Said::Message(text) => chat.converse(text).await,
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
    async fn obey(&mut self, command: Command) -> Result<()> {
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
                self.converse(last["content"].as_str().unwrap_or_default().to_owned())
                    .await?;
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

    /// Answers a message. The conversation only grows if there is an answer.
    async fn converse(&mut self, text: String) -> Result<()> {
        let system = self
            .system
            .iter()
            .map(|text| json!({"role": "system", "content": text}));
        let user = json!({"role": "user", "content": text});
        let messages: Vec<Value> = system
            .chain(self.messages.iter().cloned())
            .chain([user.clone()])
            .collect();
        let generation = self.session.answer(&messages)?;
        let answer = if self.interactive {
            stream(generation, interrupted()).await?
        } else {
            stream(generation, std::future::pending()).await?
        };
        print("\n")?;
        let used = answer.prompt_tokens + answer.completion_tokens;
        let room = format!("context {used}/{}", self.session.max_model_len());
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
