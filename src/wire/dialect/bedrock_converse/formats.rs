//! Media types and the words that Bedrock has for them.

/// The block that carries media of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// `image`
    Image,
    /// `audio`
    Audio,
    /// `video`
    Video,
    /// `document`
    Document,
}

impl Carrier {
    /// Its member.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Document => "document",
        }
    }
}

/// Formats of documents.
const DOCUMENTS: [(&str, &str); 9] = [
    ("pdf", "application/pdf"),
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    ("xls", "application/vnd.ms-excel"),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    ("html", "text/html"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
];

/// Formats of images.
const IMAGES: [&str; 4] = ["png", "jpeg", "gif", "webp"];

/// Formats of sounds whose media types have other names.
const SOUNDS: [(&str, &str); 3] = [
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("wav", "audio/x-wav"),
];

/// The media type of a format.
pub(super) fn media_type(carrier: Carrier, format: &str) -> String {
    let document = DOCUMENTS.iter().find(|(name, _)| *name == format);
    match carrier {
        Carrier::Document => {
            document.map_or_else(|| format!("application/{format}"), |it| it.1.to_owned())
        }
        carrier => format!("{}/{format}", carrier.name()),
    }
}

/// The block and the format of a media type; `None` for what Bedrock does not carry.
pub(super) fn of_media_type(media_type: &str) -> Option<(Carrier, &str)> {
    let (kind, format) = media_type.split_once('/')?;
    let format = match format {
        "jpg" => "jpeg",
        format => format,
    };
    let found = |list: &[(&'static str, &'static str)]| {
        let found = list.iter().find(|(_, it)| *it == media_type);
        found.map(|(name, _)| *name)
    };
    match kind {
        "image" => IMAGES.contains(&format).then_some((Carrier::Image, format)),
        "audio" => Some((Carrier::Audio, found(&SOUNDS).unwrap_or(format))),
        "video" => Some((Carrier::Video, format)),
        _ => match found(&DOCUMENTS) {
            Some(format) => Some((Carrier::Document, format)),
            // Source text, YAML and their like.
            None if kind == "text" => Some((Carrier::Document, "txt")),
            None => media_type
                .strip_prefix("application/")
                .filter(|it| *it == "json" || *it == "xml" || *it == "yaml")
                .map(|_| (Carrier::Document, "txt")),
        },
    }
}

/// The block and the format that a file's name suggests.
pub(super) fn of_name(name: &str) -> Option<(Carrier, String)> {
    let file = name.rsplit('/').next()?;
    let extension = file.rsplit_once('.')?.1.to_ascii_lowercase();
    let extension = match extension.as_str() {
        "jpg" => "jpeg".to_owned(),
        _ => extension,
    };
    let carrier = match extension.as_str() {
        it if IMAGES.contains(&it) => Carrier::Image,
        it if DOCUMENTS.iter().any(|(name, _)| *name == it) => Carrier::Document,
        "mp3" | "wav" | "flac" | "ogg" | "m4a" | "opus" | "aac" => Carrier::Audio,
        "mp4" | "mov" | "mkv" | "webm" | "flv" | "mpeg" | "mpg" | "wmv" => Carrier::Video,
        _ => return None,
    };
    Some((carrier, extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_media_types_are_each_others() {
        for (format, _) in DOCUMENTS {
            let media_type = media_type(Carrier::Document, format);
            assert_eq!(
                of_media_type(&media_type),
                Some((Carrier::Document, format))
            );
        }
        assert_eq!(of_media_type("image/jpg"), Some((Carrier::Image, "jpeg")));
        assert_eq!(of_media_type("image/tiff"), None);
        assert_eq!(of_media_type("audio/mpeg"), Some((Carrier::Audio, "mp3")));
        assert_eq!(
            of_media_type("application/json"),
            Some((Carrier::Document, "txt"))
        );
        assert_eq!(of_media_type("application/zip"), None);
        let named = of_name("s3://b/a.JPG");
        assert_eq!(named, Some((Carrier::Image, "jpeg".to_owned())));
    }
}
