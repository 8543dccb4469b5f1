//! Unary gRPC with messages that stay bytes: the client of exporters, and the codec for a tonic server.
//!
//! The client frames its one message itself, on the HTTP client that all exporters share. A tonic channel would hide
//! three things that matter here: whether a status comes from the server or from the client's own limits (both are
//! OUT_OF_RANGE, which is retryable only in the first case), the TLS settings, and a copy of every message.

use crate::clients::Clients;
use crate::compress::Compression;
use crate::connect::{Connector, TransportError, Versions, printable};
use crate::http::{ClientOptions, MAX_RESPONSE_BYTES, RequestBody, body_error};
use crate::status::{excerpt, grpc_error};
use bytes::{Buf, BufMut, Bytes};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use muxbridge_core::{BuildError, ExportError};
use std::time::Duration;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

/// A flag and the length of the message.
const FRAME_HEADER: usize = 5;

/// What a gRPC client needs to know.
#[derive(Clone, Debug)]
pub struct GrpcOptions {
    /// `http://host:port` or `https://host:port`; a path is not used.
    pub endpoint: Uri,
    /// Timeout and TLS. The timeout is told to the server, too.
    pub client: ClientOptions,
    /// Of requests. Compressed answers are not asked for.
    pub compression: Compression,
    /// Metadata of every request.
    pub headers: HeaderMap,
    /// The program and its version.
    pub user_agent: HeaderValue,
}

/// Calls unary methods of one server over one HTTP/2 connection of each worker, which is made at the first call and again
/// when it is lost.
#[derive(Clone, Debug)]
pub struct GrpcClient {
    clients: Clients,
    endpoint: Uri,
    headers: HeaderMap,
    compression: Compression,
    timeout: Duration,
    errors: fn(&Status) -> ExportError,
}

impl GrpcClient {
    /// A client without a connection.
    ///
    /// # Errors
    /// What is wrong with a file of the `tls` block.
    pub fn new(options: GrpcOptions) -> Result<Self, BuildError> {
        let connector = Connector::new(&options.client.tls, Versions::Http2Only, options.client.cx.as_ref())?;
        let timeout = options.client.timeout;
        let mut headers = options.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        // The user may have one of their own.
        headers.entry(USER_AGENT).or_insert(options.user_agent);
        // The protocol allows eight digits: milliseconds reach a little more than a day.
        let deadline = format!("{}m", timeout.as_millis().clamp(1, 99_999_999));
        if let Ok(value) = HeaderValue::from_str(&deadline) {
            headers.insert("grpc-timeout", value);
        }
        if let Some(encoding) = options.compression.content_encoding() {
            headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
        }
        Ok(GrpcClient {
            clients: Clients::new(connector, true),
            endpoint: options.endpoint,
            headers,
            compression: options.compression,
            timeout,
            errors: grpc_error,
        })
    }

    /// With a table of its own for statuses other than OK, for servers that do not keep to that of OTLP.
    #[must_use]
    pub fn with_errors(mut self, errors: fn(&Status) -> ExportError) -> Self {
        self.errors = errors;
        self
    }

    /// Calls the method at `path` (`/package.Service/Method`) and returns the message of the answer; empty if there is
    /// none that can be read, for the call has succeeded all the same.
    ///
    /// # Errors
    /// A call without an answer is `Retryable`, an answer that is too long `Permanent`; a status other than OK is what
    /// [`grpc_error`] says, or the table of [`GrpcClient::with_errors`].
    pub async fn unary(&self, path: &'static str, message: &Bytes) -> Result<Bytes, ExportError> {
        let request = self.request(path, message)?;
        let uri = request.uri().clone();
        let exchange = async {
            let response =
                self.clients.get().request(request).await.map_err(|e| TransportError::retryable(&uri, &e))?;
            answer(&uri, response, self.errors).await
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(TransportError::timeout(&uri, self.timeout)),
        }
    }

    fn request(&self, path: &'static str, message: &Bytes) -> Result<Request<RequestBody>, ExportError> {
        let unencodable =
            |e: Box<dyn std::error::Error + Send + Sync>| ExportError::permanent("unencodable", e);
        let (flag, body) = match self.compression {
            // The very bytes of the batch.
            Compression::None => (0, message.clone()),
            other => (1, Bytes::from(other.encode(message).map_err(|e| unencodable(e.into()))?)),
        };
        let length = u32::try_from(body.len())
            .map_err(|_| ExportError::too_large("a gRPC message is at most 4 GiB long"))?;
        let mut header = Vec::with_capacity(FRAME_HEADER);
        header.put_u8(flag);
        header.put_u32(length);
        let mut uri = self.endpoint.clone().into_parts();
        uri.path_and_query = Some(http::uri::PathAndQuery::from_static(path));
        let uri = Uri::from_parts(uri).map_err(|e| unencodable(e.into()))?;
        let mut request = Request::post(uri)
            .body(Full::new(Bytes::from(header).chain(body)))
            .map_err(|e| unencodable(e.into()))?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

/// Reads the answer. The status stands in the trailers, or among the headers if there is nothing else.
async fn answer(
    uri: &Uri,
    response: Response<Incoming>,
    errors: fn(&Status) -> ExportError,
) -> Result<Bytes, ExportError> {
    let (head, body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return if status.code() == Code::Ok { Ok(Bytes::new()) } else { Err(errors(&status)) };
    }
    let limited = Limited::new(body, MAX_RESPONSE_BYTES + FRAME_HEADER);
    let body = limited.collect().await.map_err(|e| body_error(uri, &*e))?;
    let status = body.trailers().and_then(Status::from_header_map);
    if let Some(status) = status {
        if status.code() != Code::Ok {
            return Err(errors(&status));
        }
        return Ok(unframe(uri, body.to_bytes()));
    }
    if head.status == StatusCode::OK {
        // As if the connection had been lost: nobody has said that the message was taken.
        let text = format!("endpoint {}: the answer ended without a status", printable(uri));
        return Err(ExportError::retryable(text));
    }
    // Something that does not speak gRPC stands in between.
    let said = excerpt(&body.to_bytes());
    Err(errors(&Status::new(code_of_http(head.status), format!("HTTP {}: {said}", head.status))))
}

/// The code that stands for an HTTP status, as the gRPC specification maps them.
fn code_of_http(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

fn unframe(uri: &Uri, mut frame: Bytes) -> Bytes {
    if frame.is_empty() {
        return frame;
    }
    let readable = frame.len() >= FRAME_HEADER && frame.get_u8() == 0 && {
        let length = frame.get_u32() as usize;
        length == frame.len()
    };
    if !readable {
        tracing::warn!(endpoint = printable(uri), "unreadable answer to a successful call");
        return Bytes::new();
    }
    frame
}

/// A codec whose messages are bytes, for a tonic server that must not decode what it forwards.
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = BytesCodec;
    type Decoder = BytesCodec;

    fn encoder(&mut self) -> BytesCodec {
        BytesCodec
    }

    fn decoder(&mut self) -> BytesCodec {
        BytesCodec
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        // The buffer ends with the message. Without compression this takes a slice and copies nothing.
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }
}

#[cfg(test)]
mod tests;
