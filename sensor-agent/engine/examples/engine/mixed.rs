//! Requests as a shop sees them: the mixed workload, of the engine alone and beside others.

macro_rules! get {
    ($target:literal) => {
        concat!(
            "GET ", $target, " HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) \
             Gecko/20100101 Firefox/140.0\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
             Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nReferer: \
             https://shop.example/list?page=2\r\nConnection: keep-alive\r\nCookie: session=8f14e45fceea167a5a36dedd4bea2543; \
             theme=dark; consent=all\r\n\r\n"
        )
    };
}

/// How many of a hundred requests are like this one, and the request.
pub(crate) const REQUESTS: [(u32, &str); 5] = [
    (44, get!("/shop/items/42?sort=price&page=3&q=green+tea")),
    (15, get!("/shop/")),
    (
        25,
        "POST /api/cart HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)\r\n\
            Authorization: Bearer 8f14e45fceea167a5a36dedd4bea2543\r\nContent-Type: application/json\r\nContent-Length: 119\r\n\r\n\
            {\"user\": 4711, \"items\": [{\"sku\": \"tea-42\", \"count\": 2, \"note\": \"gift\"}, {\"sku\": \"cup-7\", \"count\": 1}], \"express\": true}",
    ),
    (
        15,
        "POST /account/login HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nOrigin: \
            https://shop.example\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 83\r\n\r\n\
            user=alice%40example.com&password=correct-horse-battery&remember=on&next=%2Faccount",
    ),
    (
        1,
        "GET /item?id=1%27%20UNION%20SELECT%20name,password%20FROM%20users-- HTTP/1.1\r\nHost: shop.example\r\n\
            User-Agent: sqlmap/1.8\r\n\r\n",
    ),
];
