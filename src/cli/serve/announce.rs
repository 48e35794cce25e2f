//! What a server says of itself when it starts.

use std::io::IsTerminal as _;

use matou_server::AppState;

use super::args::ServeArgs;
use super::tls::Secured;
use crate::cli::config::Invocation;
use crate::cli::hint::better_model;

/// What the start-up message offers to paste.
const EXAMPLE_REQUEST: &str = r#"{"temperature": 0, "max_tokens": 64, "messages": [
      {"role": "system", "content": "You are a helpful assistant."},
      {"role": "user", "content": "What is the capital of France?"}]}"#;

/// Says what is served, and how it is asked: by programs, by a browser, and by those of other devices.
pub(super) fn announce(state: &AppState, secured: &Secured, described: &str) {
    let url = &secured.url;
    println!("matou {}{described}", env!("CARGO_PKG_VERSION"));
    println!("listening on {url} (Ctrl-C to stop); open it in a browser, or:\n");
    println!("  curl {url}/v1/chat/completions -H 'content-type: application/json' \\");
    if let Some(authority) = &secured.authority {
        println!("    --cacert {} \\", authority.path().display());
    }
    if !state.access.keys.is_empty() {
        println!("    -H \"authorization: Bearer $MATOU_API_KEY\" \\");
    }
    println!("    -d '{EXAMPLE_REQUEST}'\n");
    invite(state, secured);
}

/// Which model would be better than the default one, if that is served, by the memory that is free now.
pub(super) fn hint(args: &ServeArgs, invocation: &Invocation) -> Option<String> {
    let is_default =
        args.model.is_empty() && invocation.config.models.is_empty() && !args.all_models;
    let options = args.options.weights.to_open();
    is_default
        .then(|| better_model("matou serve", None, &options))
        .flatten()
}

/// Says how other devices open the page: a picture of the address for their cameras, and how they come to
/// trust the certificate.
fn invite(state: &AppState, secured: &Secured) {
    // What signs somebody in is for who looks on, and not for logs; nor are a picture's colours.
    let is_seen = std::io::stdout().is_terminal();
    if let Some(elsewhere) = &secured.reach.elsewhere {
        let token = is_seen.then(|| state.login_token()).flatten();
        let link = match &token {
            Some(token) => format!("{elsewhere}/#login={token}"),
            None => format!("{elsewhere}/"),
        };
        println!("on other devices: {link}");
        if token.is_some() {
            println!("  (signs in once, within ten minutes; the page makes others)");
        }
        let code = is_seen.then(|| matou_tls::qr_terminal(&link)).flatten();
        code.iter().for_each(|code| println!("\n{code}"));
    }
    if let Some(authority) = &secured.authority {
        println!("\n{}\n", authority.trust_instructions());
    }
}
