//! Errors as `--json` has them.

use serde_json::{Value, json};

use super::{GOOD, read};

#[test]
fn every_part_of_an_error() {
    let text = GOOD
        .replace("10.1.0.2", "10.1.0.1")
        .replace("need = 1", "ned = 1");
    let errors = read(&text).expect_err("two errors");
    let expected = json!({
        "file": "/etc/anylb/anylb.toml",
        "errors": [
            {
                "message": "backend 10.1.0.1 is twice in one pool",
                "line": 32, "column": 13, "end_column": 23, "text": "\"10.1.0.1\"",
                "label": "again here",
                "help": null,
                "related": { "line": 29, "column": 13, "end_column": 23, "text": "\"10.1.0.1\"", "label": "first here" },
            },
            {
                "message": "unknown key `ned`",
                "line": 41, "column": 1, "end_column": 4, "text": "ned",
                "label": null,
                "help": "did you mean `need`?",
                "related": null,
            },
        ],
    });
    assert_eq!(serde_json::to_value(&errors).expect("plain data"), expected);
}

#[test]
fn no_secret_is_shown() {
    let text = GOOD
        .replace("/etc/anylb/tor1.key", "two.key")
        .replace("/etc/anylb/hash.key", "short.key");
    let errors = read(&text).expect_err("two errors");
    let json: Value = serde_json::to_value(&errors).expect("plain data");
    for shown in [errors.to_string(), json.to_string(), format!("{errors:?}")] {
        assert!(
            !shown.contains("0001020304") && !shown.contains("one\\n"),
            "{shown}"
        );
    }
    let good = format!("{:?}", read(GOOD).expect("a good file"));
    assert!(
        good.contains("10.1.0.2") && !good.contains("secret"),
        "{good}"
    );
}
