//! A body that is passed through: what must be known of it before it goes on, the model's name put
//! into it, and the rest of it as it comes in.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::error::{ErrorKind, ProxyError};
use crate::ingress::{self, FormField, FormScanner};
use crate::runtime::UploadBody;
use crate::runtime::clients::Piece;

/// Pieces between the client's connection and the upstream's.
const PIECES_IN_FLIGHT: usize = 4;

/// What a body says, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The model.
    pub model: Option<String>,
    /// How many answers are asked for.
    pub count: Option<u64>,
    /// Characters of `input`, for speech.
    pub input_chars: u64,
    /// The end user; of a form only where it stands before the first file.
    pub end_user: Option<String>,
}

/// A body on its way.
pub(super) struct Upload<'b> {
    /// What is there.
    first: BytesMut,
    /// Where in `first` the model's name stands.
    model_at: Option<std::ops::Range<usize>>,
    /// The name is JSON text.
    is_json: bool,
    rest: Option<Rest<'b>>,
    length: Option<u64>,
}

/// What still comes in.
pub(super) struct Rest<'b> {
    body: &'b mut Incoming,
    scanner: Option<FormScanner>,
    passed: usize,
    caps: Caps,
}

/// Bounds of what is read.
#[derive(Clone, Copy)]
pub(super) struct Caps {
    /// Most bytes that are held here.
    pub held: usize,
    /// Most bytes that are passed on.
    pub passed: usize,
    /// Longest pause of the client.
    pub pause: Duration,
}

impl<'b> Upload<'b> {
    /// No body.
    pub(super) fn none() -> Self {
        Self::whole(Bytes::new())
    }

    /// A body that is all there.
    pub(super) fn whole(body: Bytes) -> Self {
        Self {
            length: Some(body.len() as u64),
            first: BytesMut::from(body),
            model_at: None,
            is_json: true,
            rest: None,
        }
    }

    /// A JSON body, read.
    pub(super) fn json(body: Bytes) -> Result<(Self, Said), ProxyError> {
        let members = ingress::members(&body)?;
        let model = members.text("model");
        if model.is_none() && members.has("model") {
            return Err(ProxyError::invalid("model", "`model` must be text"));
        }
        let input = members.text("input").map(|(text, _)| text.chars().count());
        let said = Said {
            count: members.number("n"),
            input_chars: input.map_or(0, |chars| chars as u64),
            model: model.as_ref().map(|(name, _)| name.clone()),
            end_user: ["user", "safety_identifier"]
                .into_iter()
                .find_map(|name| members.text(name))
                .map(|(user, _)| user),
        };
        let model_at = model.map(|(_, at)| at);
        let upload = Self {
            model_at,
            ..Self::whole(body)
        };
        Ok((upload, said))
    }

    /// A form, read up to the model's name, and up to its first file for who is named as its end user.
    pub(super) async fn form(
        headers: &HeaderMap,
        body: &'b mut Incoming,
        caps: Caps,
    ) -> Result<(Self, Said), ProxyError> {
        let mut said = Said::default();
        let mut upload = Self::flowing(headers, body, caps)?;
        let mut scanner = FormScanner::new(headers)?;
        while said.model.is_none() || (said.end_user.is_none() && scanner.may_name_more()) {
            let Some(rest) = &mut upload.rest else { break };
            match rest.next().await? {
                Some(piece) => {
                    upload.first.extend_from_slice(&piece);
                    if upload.first.len() > caps.held && said.model.is_none() {
                        let message = format!(
                            "`model` must stand within the first {} bytes of the form; put it before the file",
                            caps.held
                        );
                        return Err(ProxyError::new(ErrorKind::RequestTooLarge, message));
                    }
                    for field in scanner.feed(&piece)? {
                        upload.note(&mut said, field);
                    }
                    if upload.first.len() > caps.held && said.model.is_some() {
                        break;
                    }
                }
                None => upload.rest = None,
            }
        }
        if let Some(rest) = &mut upload.rest {
            rest.scanner = Some(scanner);
        }
        Ok((upload, said))
    }

    /// A body that is not read at all.
    pub(super) fn flowing(
        headers: &HeaderMap,
        body: &'b mut Incoming,
        caps: Caps,
    ) -> Result<Self, ProxyError> {
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|bytes| bytes > caps.passed as u64) {
            return Err(too_large(caps.passed));
        }
        Ok(Self {
            first: BytesMut::new(),
            model_at: None,
            is_json: false,
            rest: Some(Rest {
                body,
                scanner: None,
                passed: 0,
                caps,
            }),
            length,
        })
    }

    fn note(&mut self, said: &mut Said, field: FormField) {
        match field.name {
            "model" => {
                said.model = Some(field.value);
                self.model_at = Some(field.at);
            }
            "user" => said.end_user = Some(field.value),
            _ => said.count = field.value.trim().parse().ok(),
        }
    }

    /// Puts the upstream's name of the model in the place of the client's.
    pub(super) fn rename(&mut self, upstream_model: &str) {
        let Some(at) = self.model_at.take() else {
            return;
        };
        let name = if self.is_json {
            serde_json::Value::from(upstream_model).to_string()
        } else {
            upstream_model.to_owned()
        };
        let (before, after) = (self.first.len(), self.first.split_off(at.end));
        self.first.truncate(at.start);
        self.first.extend_from_slice(name.as_bytes());
        self.first.extend_from_slice(&after);
        let grown = self.first.len() as u64;
        self.length = self
            .length
            .map(|length| (length + grown).saturating_sub(before as u64));
    }

    /// An upper bound of the body's bytes.
    pub(super) fn at_most_bytes(&self) -> u64 {
        let cap = self
            .rest
            .as_ref()
            .map_or(self.first.len(), |rest| rest.caps.passed);
        self.length.unwrap_or(cap as u64)
    }

    /// The body for the upstream, and what must be pumped into it while it is sent.
    pub(super) fn start(self) -> (UploadBody, Option<Bytes>, Option<Pump<'b>>) {
        let first = self.first.freeze();
        match self.rest {
            None => (UploadBody::whole(first.clone()), Some(first), None),
            Some(rest) => {
                let (sender, pieces) = mpsc::channel(PIECES_IN_FLIGHT);
                let first = VecDeque::from([first]);
                let body = UploadBody::flowing(first, pieces, self.length);
                (body, None, Some(Pump { rest, sender }))
            }
        }
    }
}

impl Rest<'_> {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ProxyError> {
        loop {
            let frame = tokio::time::timeout(self.caps.pause, self.body.frame()).await;
            let Ok(frame) = frame else {
                let message = "the body did not arrive in time; send it without pauses";
                return Err(ProxyError::new(ErrorKind::RequestTimeout, message));
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|_| ProxyError::invalid("", "the body broke off"))?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            self.passed += piece.len();
            if self.passed > self.caps.passed {
                return Err(too_large(self.caps.passed));
            }
            if let Some(scanner) = &mut self.scanner {
                scanner.feed(&piece)?;
            }
            return Ok(Some(piece));
        }
    }
}

/// Carries the rest of a body from the client to the upstream.
pub(super) struct Pump<'b> {
    rest: Rest<'b>,
    sender: mpsc::Sender<Piece>,
}

impl Pump<'_> {
    /// Runs until the body is over, or the upstream wants no more of it.
    ///
    /// # Errors
    /// What is wrong with the client's body; the upstream's request is then broken off.
    pub(super) async fn run(mut self) -> Result<(), ProxyError> {
        while let Some(piece) = self.rest.next().await? {
            if self.sender.send(Piece::Bytes(piece)).await.is_err() {
                return Ok(());
            }
        }
        let _wanted = self.sender.send(Piece::End).await.is_ok();
        Ok(())
    }
}

fn too_large(max_bytes: usize) -> ProxyError {
    let message = format!("the body must have at most {max_bytes} bytes");
    ProxyError::new(ErrorKind::RequestTooLarge, message)
}
