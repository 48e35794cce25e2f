//! How an endpoint is described.

/// An endpoint: its function's name, method, path, group and summary; the parameters of its path, if it has
/// some; what it answers and reads, if that has a type.
macro_rules! endpoint {
    ($name:ident, $method:ident, $path:literal, $tag:literal, $summary:literal
        $(, {$($parameter:literal),+})?) => {
        #[utoipa::path($method, path = $path, tag = $tag, summary = $summary,
            $(params($(($parameter = String, Path)),+),)?
            responses((status = 200, description = "The answer"),
                (status = "4XX", description = "What is wrong with the request")))]
        pub(super) fn $name() {}
    };
    ($name:ident, $method:ident, $path:literal, $tag:literal, $summary:literal,
        {$($parameter:literal),+}, $answer:ty) => {
        #[utoipa::path($method, path = $path, tag = $tag, summary = $summary,
            params($(($parameter = String, Path)),+),
            responses((status = 200, description = "The answer", body = $answer),
                (status = "4XX", description = "What is wrong with the request")))]
        pub(super) fn $name() {}
    };
    ($name:ident, $method:ident, $path:literal, $tag:literal, $summary:literal,
        $({$($parameter:literal),+},)? $request:ty, $answer:ty) => {
        #[utoipa::path($method, path = $path, tag = $tag, summary = $summary,
            request_body = $request,
            $(params($(($parameter = String, Path)),+),)?
            responses((status = 200, description = "The answer, whole or streamed", body = $answer),
                (status = "4XX", description = "What is wrong with the request"),
                (status = "5XX", description = "A fault of the server")))]
        pub(super) fn $name() {}
    };
}

pub(super) use endpoint;
