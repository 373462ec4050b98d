use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::{Bench, run};
use crate::api::fake::{self, FakeNode};
use crate::api::scratch::Scratch;
use crate::status::Exit;

#[tokio::test]
async fn no_socket_ends_with_4() {
    let dir = Scratch::new();
    let socket = dir.path().join("admin.sock");
    let text = format!(
        "anylb: no agent answers at {}: No such file or directory (os error 2): start it with `anylb run`, or name \
         its socket with --socket",
        socket.display()
    );
    assert_eq!(
        run(&socket, "status", false).await,
        (text, Exit::AgentUnreachable)
    );
}

#[tokio::test]
async fn the_socket_of_a_dead_agent_ends_with_4() {
    let dir = Scratch::new();
    let socket = dir.path().join("admin.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let text = format!(
        "anylb: no agent answers at {}: Connection refused (os error 111): start it with `anylb run`, or name its \
         socket with --socket",
        socket.display()
    );
    assert_eq!(
        run(&socket, "reload", false).await,
        (text, Exit::AgentUnreachable)
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_ends_with_8() {
    let answer = Bench::new(FakeNode::new(fake::lb(), None))
        .run("drops")
        .await;
    let text = "anylb: the agent did not answer within 5 s: look at its log";
    assert_eq!(answer, (text.to_string(), Exit::Timeout));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_accepts_and_is_silent_ends_with_8() {
    let dir = Scratch::new();
    let socket = dir.path().join("admin.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let text = format!(
        "anylb: the agent at {} did not answer within 10 s: look at its log",
        socket.display()
    );
    assert_eq!(run(&socket, "status", false).await, (text, Exit::Timeout));
}

#[tokio::test]
async fn another_schema_is_said_and_ends_with_1() {
    let dir = Scratch::new();
    let socket = dir.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await.unwrap();
        let body = r#"{"schema":"anylb/v2","generation":1,"message":"done"}"#;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let text = format!(
        "anylb: the agent at {} speaks anylb/v2, this command anylb/v1: use the agent's own version of anylb",
        socket.display()
    );
    assert_eq!(run(&socket, "reload", false).await, (text, Exit::Failed));
}

#[tokio::test]
async fn an_answer_that_is_no_json_ends_with_1() {
    let dir = Scratch::new();
    let socket = dir.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        stream.write_all(answer).await.unwrap();
    });
    let text = format!(
        "anylb: the agent at {} gave no proper answer: expected value at line 1 column 1: look at its log",
        socket.display()
    );
    assert_eq!(run(&socket, "status", false).await, (text, Exit::Failed));
}
