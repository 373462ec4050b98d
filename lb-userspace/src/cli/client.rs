//! The other end of the admin API.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::error::CliError;
use crate::status::{
    BpfState, Command, ConfigDiff, Counters, DiffRequest, Done, Envelope, Exit, ExplainRequest,
    Explanation, HealthList, NodeStatus, ProbeReport, ProbeRequest, Refused, ReloadRequest,
    Reloaded, RouteList, SCHEMA, TraceBatch, TraceNext, TraceRequest, TraceStarted, Verification,
};

/// Time for an answer to a question, longer than the agent takes at most.
const READ_TIME: Duration = Duration::from_secs(10);
/// Time for a change.
const CHANGE_TIME: Duration = Duration::from_secs(35);
/// Largest answer: ten thousand backends are about 3 MiB.
const ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// Asks the agent behind one admin socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the agent at `socket`; nothing is opened yet.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_path_buf(),
        }
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Result<Envelope<NodeStatus>, CliError> {
        self.read("/v1/status").await
    }

    /// `GET /v1/routes`.
    pub async fn routes(&self) -> Result<Envelope<RouteList>, CliError> {
        self.read("/v1/routes").await
    }

    /// `GET /v1/counters`.
    pub async fn counters(&self) -> Result<Envelope<Counters>, CliError> {
        self.read("/v1/counters").await
    }

    /// `GET /v1/explain`.
    pub async fn explain(
        &self,
        request: ExplainRequest,
    ) -> Result<Envelope<Explanation>, CliError> {
        let ExplainRequest {
            source,
            destination,
            protocol,
        } = request;
        self.read(&format!(
            "/v1/explain?source={source}&destination={destination}&protocol={protocol}"
        ))
        .await
    }

    /// `GET /v1/health`.
    pub async fn health(&self) -> Result<Envelope<HealthList>, CliError> {
        self.read("/v1/health").await
    }

    /// `GET /v1/bpf`.
    pub async fn bpf(&self) -> Result<Envelope<BpfState>, CliError> {
        self.read("/v1/bpf").await
    }

    /// `GET /v1/bpf/verify`.
    pub async fn verify(&self) -> Result<Envelope<Verification>, CliError> {
        self.read("/v1/bpf/verify").await
    }

    /// `POST /v1/probe`.
    pub async fn probe(&self, request: &ProbeRequest) -> Result<Envelope<ProbeReport>, CliError> {
        self.post("/v1/probe", request).await
    }

    /// `POST /v1/trace`.
    pub async fn trace(&self, request: &TraceRequest) -> Result<Envelope<TraceStarted>, CliError> {
        self.post("/v1/trace", request).await
    }

    /// `POST /v1/trace/next`.
    pub async fn trace_next(&self, request: TraceNext) -> Result<Envelope<TraceBatch>, CliError> {
        self.post("/v1/trace/next", &request).await
    }

    /// `POST /v1/diff`.
    pub async fn diff(&self, request: &DiffRequest) -> Result<Envelope<ConfigDiff>, CliError> {
        self.post("/v1/diff", request).await
    }

    /// `POST /v1/reload`.
    pub async fn reload(&self, request: &ReloadRequest) -> Result<Envelope<Reloaded>, CliError> {
        let wait = Duration::from_secs(request.wait_secs.unwrap_or(0));
        let request = post("/v1/reload", request)?;
        self.within(CHANGE_TIME + wait, self.send(request)).await
    }

    /// `POST /v1/command`.
    pub async fn command(&self, command: &Command) -> Result<Envelope<Done>, CliError> {
        self.post("/v1/command", command).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        resource: &str,
        body: &impl Serialize,
    ) -> Result<Envelope<T>, CliError> {
        let request = post(resource, body)?;
        self.within(CHANGE_TIME, self.send(request)).await
    }

    async fn read<T: DeserializeOwned>(&self, resource: &str) -> Result<Envelope<T>, CliError> {
        let request = Request::get(resource).body(Full::default());
        self.within(READ_TIME, self.send(request)).await
    }

    async fn within<T>(
        &self,
        time: Duration,
        work: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        timeout(time, work).await.unwrap_or_else(|_| {
            Err(CliError::new(
                Exit::Timeout,
                format!(
                    "the agent at {} did not answer within {} s: look at its log",
                    self.socket.display(),
                    time.as_secs()
                ),
            ))
        })
    }

    async fn send<T: DeserializeOwned>(&self, request: Made) -> Result<Envelope<T>, CliError> {
        let mut request = request.map_err(|error| self.broken(&error))?;
        // HTTP/1.1 wants a host; on a unix socket there is none.
        let host = header::HeaderValue::from_static("localhost");
        request.headers_mut().insert(header::HOST, host);
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(&error))?;
        let answer = async {
            let response = sender.send_request(request).await;
            let response = response.map_err(|error| self.broken(&error))?;
            self.decode(response).await
        };
        tokio::pin!(answer, connection);
        // Cancel-safe: whichever future is ready first is not polled again.
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // The connection may end before its last bytes are read out of it.
            _ = &mut connection => answer.await,
        }
    }

    async fn decode<T: DeserializeOwned>(
        &self,
        response: Response<hyper::body::Incoming>,
    ) -> Result<Envelope<T>, CliError> {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| self.broken(&*error))?
            .to_bytes();
        if status != StatusCode::OK {
            let refused: Envelope<Refused> = self.parse(&body)?;
            return Err(refused.body.error.into());
        }
        self.parse(&body)
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<Envelope<T>, CliError> {
        let envelope: Envelope<T> =
            serde_json::from_slice(body).map_err(|error| self.broken(&error))?;
        if envelope.schema != SCHEMA {
            return Err(CliError::new(
                Exit::Failed,
                format!(
                    "the agent at {} speaks {}, this command {SCHEMA}: use the agent's own version of anylb",
                    self.socket.display(),
                    envelope.schema
                ),
            ));
        }
        Ok(envelope)
    }

    fn unreachable(&self, error: &io::Error) -> CliError {
        let next = if error.kind() == io::ErrorKind::PermissionDenied {
            "use sudo or join the group of the socket"
        } else {
            "start it with `anylb run`, or name its socket with --socket"
        };
        CliError::new(
            Exit::AgentUnreachable,
            format!(
                "no agent answers at {}: {error}: {next}",
                self.socket.display()
            ),
        )
    }

    fn broken(&self, error: &dyn std::error::Error) -> CliError {
        CliError::new(
            Exit::Failed,
            format!(
                "the agent at {} gave no proper answer: {error}: look at its log",
                self.socket.display()
            ),
        )
    }
}

type Made = Result<Request<Full<Bytes>>, hyper::http::Error>;

fn post(resource: &str, body: &impl Serialize) -> Result<Made, CliError> {
    Ok(Request::post(resource)
        .header(header::CONTENT_TYPE, "application/json")
        .body(json(body)?))
}

fn json(value: &impl Serialize) -> Result<Full<Bytes>, CliError> {
    serde_json::to_vec(value)
        .map(|bytes| Full::new(bytes.into()))
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot write the request: {error}")))
}
