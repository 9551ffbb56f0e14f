//! Requests that are passed through to a provider rather than translated: images, audio, moderations,
//! files and batches. Which path they take, by which method, and in which form their body comes.

use super::call::Endpoint;

/// A path that is passed through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayPath {
    /// `images/generations`
    ImageGenerations,
    /// `images/edits`
    ImageEdits,
    /// `images/variations`
    ImageVariations,
    /// `audio/speech`
    Speech,
    /// `audio/transcriptions`
    Transcriptions,
    /// `audio/translations`
    Translations,
    /// `moderations`
    Moderations,
    /// `files`
    Files,
    /// `files/{id}`
    File(String),
    /// `files/{id}/content`
    FileContent(String),
    /// `batches`
    Batches,
    /// `batches/{id}`
    Batch(String),
    /// `batches/{id}/cancel`
    BatchCancel(String),
}

impl RelayPath {
    /// The path below `/v1/`; `None` when nothing is passed through there. Ids are letters, digits, `-`
    /// and `_`: what goes upstream cannot name another path.
    #[must_use]
    pub fn parse(below: &str) -> Option<Self> {
        let is_id = |id: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(plain)
        };
        let parts: Vec<&str> = below.split('/').take(4).collect();
        Some(match *parts.as_slice() {
            ["images", "generations"] => Self::ImageGenerations,
            ["images", "edits"] => Self::ImageEdits,
            ["images", "variations"] => Self::ImageVariations,
            ["audio", "speech"] => Self::Speech,
            ["audio", "transcriptions"] => Self::Transcriptions,
            ["audio", "translations"] => Self::Translations,
            ["moderations"] => Self::Moderations,
            ["files"] => Self::Files,
            ["files", id] if is_id(id) => Self::File(id.to_owned()),
            ["files", id, "content"] if is_id(id) => Self::FileContent(id.to_owned()),
            ["batches"] => Self::Batches,
            ["batches", id] if is_id(id) => Self::Batch(id.to_owned()),
            ["batches", id, "cancel"] if is_id(id) => Self::BatchCancel(id.to_owned()),
            _ => return None,
        })
    }

    /// The path below the API's base, as it is sent upstream.
    #[must_use]
    pub fn upstream(&self) -> String {
        match self {
            Self::ImageGenerations => "images/generations".to_owned(),
            Self::ImageEdits => "images/edits".to_owned(),
            Self::ImageVariations => "images/variations".to_owned(),
            Self::Speech => "audio/speech".to_owned(),
            Self::Transcriptions => "audio/transcriptions".to_owned(),
            Self::Translations => "audio/translations".to_owned(),
            Self::Moderations => "moderations".to_owned(),
            Self::Files => "files".to_owned(),
            Self::File(id) => format!("files/{id}"),
            Self::FileContent(id) => format!("files/{id}/content"),
            Self::Batches => "batches".to_owned(),
            Self::Batch(id) => format!("batches/{id}"),
            Self::BatchCancel(id) => format!("batches/{id}/cancel"),
        }
    }

    /// The methods that it takes, as the `allow` header lists them.
    #[must_use]
    pub const fn methods(&self) -> &'static str {
        match self {
            Self::Files | Self::Batches => "GET, POST",
            Self::File(_) => "GET, DELETE",
            Self::FileContent(_) | Self::Batch(_) => "GET",
            _ => "POST",
        }
    }

    /// The word for it in records.
    #[must_use]
    pub const fn endpoint(&self) -> Endpoint {
        match self {
            Self::ImageGenerations | Self::ImageEdits | Self::ImageVariations => Endpoint::Images,
            Self::Speech | Self::Transcriptions | Self::Translations => Endpoint::Audio,
            Self::Moderations => Endpoint::Moderations,
            Self::Files | Self::File(_) | Self::FileContent(_) => Endpoint::Files,
            Self::Batches | Self::Batch(_) | Self::BatchCancel(_) => Endpoint::Batches,
        }
    }

    /// True where the request names a model, and the model its provider; else the provider is named.
    #[must_use]
    pub const fn names_model(&self) -> bool {
        !matches!(self.endpoint(), Endpoint::Files | Endpoint::Batches)
    }

    /// True where a batch is made.
    #[must_use]
    pub fn is_new_batch(&self, method: &http::Method) -> bool {
        *self == Self::Batches && method == http::Method::POST
    }

    /// True where the answer is one batch.
    #[must_use]
    pub const fn names_batch(&self) -> bool {
        matches!(self, Self::Batch(_) | Self::BatchCancel(_))
    }

    /// The model that OpenAI takes where the request names none.
    #[must_use]
    pub const fn usual_model(&self) -> Option<&'static str> {
        match self {
            Self::Moderations => Some("omni-moderation-latest"),
            Self::ImageGenerations | Self::ImageEdits | Self::ImageVariations => Some("dall-e-2"),
            _ => None,
        }
    }
}

/// OpenAI's ids have some 30 characters.
const MAX_ID_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_paths_with_plain_ids_are_passed_through() {
        for path in [
            "images/generations",
            "audio/speech",
            "files",
            "files/file-a_1",
            "files/file-1/content",
            "batches/batch_1/cancel",
        ] {
            let parsed = RelayPath::parse(path).expect(path);
            assert_eq!(parsed.upstream(), path);
        }
        for path in [
            "images",
            "images/generations/x",
            "files/",
            "files/..",
            "files/a%2Fb",
            "files/a?b",
            "files/a/b",
            "files/a/content/b",
            "audio/voices",
        ] {
            assert_eq!(RelayPath::parse(path), None, "{path}");
        }
    }
}
