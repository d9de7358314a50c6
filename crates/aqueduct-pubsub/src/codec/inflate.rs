use std::io::Read as _;

use bytes::Bytes;
use flate2::read::ZlibDecoder;

/// The most that compressed data may become: the service compresses messages of up to 10 MB. A message of
/// another could unpack to a thousand times its size.
const LARGEST: u64 = 10_000_000;

/// Decompresses the data of a message; the error says why it cannot be done.
pub(crate) fn inflate(data: &[u8]) -> Result<Bytes, String> {
    let mut inflated = Vec::new();
    let read = ZlibDecoder::new(data)
        .take(LARGEST + 1)
        .read_to_end(&mut inflated);
    match read {
        Err(error) => Err(format!("the data is not compressed with zlib: {error}")),
        Ok(bytes) if bytes as u64 > LARGEST => Err(format!(
            "the data is more than {LARGEST} bytes when decompressed"
        )),
        Ok(_) => Ok(inflated.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compressed_data_comes_back_and_other_data_says_why_not() {
        assert_eq!(inflate(&deflate(b"orders")).unwrap(), "orders");
        assert!(inflate(b"orders").unwrap_err().contains("zlib"));
        let cut = &deflate(b"orders")[..4];
        assert!(inflate(cut).is_err(), "a cut message is not taken");
        let largest = usize::try_from(LARGEST).unwrap();
        assert!(inflate(&deflate(&vec![0; largest])).is_ok());
        let error = inflate(&deflate(&vec![0; largest + 1])).unwrap_err();
        assert!(error.contains("10000000"), "{error}");
    }
}
