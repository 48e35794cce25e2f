//! Personas and adapters as a user has them: on the command line, and in a server that runs.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::commands::stdout;
use crate::harness::{PATIENCE, Server, matou, run};

fn checkpoint(name: &str) -> String {
    let folder = matou_testkit::fixtures_dir().join("checkpoints").join(name);
    folder.to_str().unwrap().to_owned()
}

fn adapter(name: &str) -> String {
    let folder = matou_testkit::fixtures_dir().join("lora").join(name);
    folder.to_str().unwrap().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A card in words that the checkpoints know.
fn card(name: &str, matou: Value) -> Value {
    json!({
        "spec": "chara_card_v2", "spec_version": "2.0",
        "data": {
            "name": name, "description": " t30 t31", "personality": "", "scenario": "",
            "first_mes": " t40", "mes_example": "", "creator_notes": "", "system_prompt": " t20 t21 {{original}}",
            "post_history_instructions": "", "alternate_greetings": [], "tags": [], "creator": "",
            "character_version": "", "extensions": {"matou": matou},
        },
    })
}

fn write(folder: &Path, file: &str, card: &Value) -> PathBuf {
    let path = folder.join(file);
    std::fs::write(&path, card.to_string()).unwrap();
    path
}

async fn names(server: &Server) -> Vec<String> {
    let models = server
        .client
        .get(format!("{}/v1/models", server.url))
        .send()
        .await
        .unwrap();
    let models: Value = models.json().await.unwrap();
    let models = models["data"].as_array().unwrap().iter();
    models
        .map(|model| model["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn answer(server: &Server, model: &str) -> String {
    let body = json!({"model": model, "prompt": [5, 6, 7], "temperature": 0, "max_tokens": 8});
    let (status, answer) = server.post("/v1/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    answer["choices"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn cards_are_checked_shown_taken_in_and_handed_on() {
    let folder = TempDir::new().unwrap();
    let ada = write(folder.path(), "ada.json", &card("Ada", json!({})));
    let broken = write(
        folder.path(),
        "broken.json",
        &json!({"spec": "chara_card_v2", "data": {}}),
    );
    assert!(stdout(&["persona", "check", text(&ada)]).contains("`ada`"));
    let checked = run(&["persona", "check", text(folder.path())]);
    assert_eq!(checked.status.code(), Some(1));
    let told = String::from_utf8(checked.stdout).unwrap();
    assert!(
        told.contains("`ada`") && told.contains("broken.json"),
        "{told}"
    );
    assert!(told.contains("no name"), "{told}");
    assert!(stdout(&["persona", "show", text(&ada)]).contains("greeting 0"));
    let prompt = stdout(&["persona", "show", text(&ada), "--prompt"]);
    assert!(prompt.contains("t30 t31"), "{prompt}");
    let shown: Value =
        serde_json::from_str(&stdout(&["persona", "show", text(&ada), "--json"])).unwrap();
    assert_eq!(shown["id"], "ada");
    assert!(shown.get("description").is_none());
    // There and back, through every form.
    let png = folder.path().join("ada.png");
    let charx = folder.path().join("ada.charx");
    let back = folder.path().join("back.json");
    stdout(&["persona", "export", text(&ada), text(&png)]);
    stdout(&["persona", "export", text(&png), text(&charx)]);
    stdout(&[
        "persona",
        "export",
        text(&charx),
        text(&back),
        "--form",
        "json-v2",
    ]);
    let read = |path: &Path| -> Value {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    assert_eq!(
        read(&back)["data"]["extensions"],
        read(&ada)["data"]["extensions"]
    );
    assert_eq!(read(&back)["data"]["description"], " t30 t31");
    let again = run(&["persona", "export", text(&ada), text(&png)]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"));
    let into = folder.path().join("taken-in");
    stdout(&["persona", "import", text(&png), "--into", text(&into)]);
    assert_eq!(
        std::fs::read(into.join("ada.png")).unwrap(),
        std::fs::read(&png).unwrap()
    );
    assert!(
        !run(&["persona", "import", text(&broken), "--into", text(&into)])
            .status
            .success()
    );
    assert!(!into.join("broken.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_card_keeps_no_other_from_being_served_and_new_ones_come_with_a_hangup() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("answers.log");
    let cards = folder.path().join("cards");
    std::fs::create_dir(&cards).unwrap();
    write(&cards, "a.json", &card("Ada", json!({})));
    write(&cards, "b.json", &card("Ada", json!({})));
    write(
        &cards,
        "c.json",
        &json!({"spec": "chara_card_v2", "data": {}}),
    );
    write(
        &cards,
        "d.json",
        &card("Dora", json!({"model": "elsewhere"})),
    );
    write(&cards, "e.json", &card("Llama2", json!({})));
    std::fs::write(cards.join("f.png"), b"\x89PNG\r\n\x1a\n\xff\xff\xff\xff").unwrap();
    std::fs::write(cards.join("notes.txt"), "no card").unwrap();
    let server = Server::spawn(matou(&[
        "serve",
        &checkpoint("llama2"),
        "--port",
        "0",
        "--personas",
        text(&cards),
        "--provenance-log",
        text(&log),
    ]));
    assert_eq!(names(&server).await, ["llama2", "ada"]);
    let body = json!({
        "model": "ada", "messages": [{"role": "user", "content": " t50"}], "max_tokens": 40, "temperature": 0,
        "ignore_eos": true,
    });
    let (status, said) = server.post("/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(said["matou"]["persona"], "ada");
    write(&cards, "g.json", &card("Greta", json!({})));
    server.signal("HUP");
    let began = Instant::now();
    while names(&server).await.len() < 3 {
        assert!(began.elapsed() < PATIENCE, "{:?}", names(&server).await);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(names(&server).await, ["llama2", "ada", "greta"]);
    // The text is found again; another is not.
    let answer = folder.path().join("answer.txt");
    std::fs::write(
        &answer,
        said["choices"][0]["message"]["content"].as_str().unwrap(),
    )
    .unwrap();
    let began = Instant::now();
    loop {
        let verified = run(&["verify", text(&log), text(&answer)]);
        let told = String::from_utf8_lossy(&verified.stdout).into_owned();
        if verified.status.success() {
            assert!(
                told.contains("This text is an answer of this server") && told.contains("ada"),
                "{told}"
            );
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{told}");
    }
    std::fs::write(
        &answer,
        "Something that nobody has said here, in as many words as it takes to tell.",
    )
    .unwrap();
    let verified = run(&["verify", text(&log), text(&answer), "--json"]);
    assert_eq!(verified.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(told["whole"], json!([]));
    assert_eq!(
        run(&["verify", text(&cards), text(&answer)]).status.code(),
        Some(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn adapters_are_named_on_the_command_line_and_in_the_configuration() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("matou.toml");
    let text_of = format!(
        "[[model]]\nmodel = {:?}\nname = \"base\"\nlora = [\"own={}\"]\n\n[[model]]\nmodel = {:?}\nname = \"other\"\n",
        checkpoint("llama3.2"),
        adapter("llama3.2-qv"),
        checkpoint("mistral-v0.3"),
    );
    std::fs::write(&config, text_of).unwrap();
    let lora = format!("all={}@other", adapter("mistral-v0.3-all"));
    let server = Server::spawn(matou(&[
        "serve",
        "--config",
        text(&config),
        "--port",
        "0",
        "--lora",
        &lora,
        "--max-model-len",
        "256",
    ]));
    assert_eq!(names(&server).await, ["base", "own", "other", "all"]);
    let said = [
        answer(&server, "base").await,
        answer(&server, "own").await,
        answer(&server, "other").await,
        answer(&server, "all").await,
    ];
    assert!(said[0] != said[1] && said[2] != said[3], "{said:?}");
}

#[test]
fn what_is_wrong_with_an_adapter_is_told_at_start() {
    let wrong = adapter("refuse-wrong-base");
    let base = checkpoint("llama3.2");
    for (lora, named) in [
        (format!("x={wrong}"), "refuse-wrong-base"),
        ("x=/nowhere/at/all".to_owned(), "/nowhere/at/all"),
        (
            format!("x={}@elsewhere", adapter("llama3.2-qv")),
            "elsewhere",
        ),
        (
            format!("llama3.2={}", adapter("llama3.2-qv")),
            "has the name of",
        ),
        ("nonsense".to_owned(), "NAME=PATH"),
    ] {
        let output = run(&["serve", &base, "--port", "0", "--lora", &lora]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{lora}");
        assert!(errors.contains(named), "{lora}: {errors}");
    }
}
