"""Directives of nginx's http and stream modules that have no meaning here.

Knowing their names lets a misplaced one be told from a misspelt one (``"proxy_pass" directive is not
allowed here``). A group is a common prefix and what follows it.
"""

_GROUPS = {
    "": """absolute_redirect access_log add_after_body add_before_body add_header add_trailer
        addition_types aio aio_write alias allow ancient_browser ancient_browser_value break charset
        charset_map charset_types chunked_transfer_encoding connection_pool_size create_full_put_path
        default_type deny directio directio_alignment disable_symlinks early_hints empty_gif error_page
        etag expires flv geo hash if if_modified_since ignore_invalid_headers image_filter
        image_filter_buffer image_filter_interlace image_filter_jpeg_quality image_filter_sharpen
        image_filter_transparency image_filter_webp_quality index internal internal_redirect ip_hash
        large_client_header_buffers least_conn least_time limit_except limit_rate limit_rate_after
        lingering_close lingering_time lingering_timeout location log_format log_not_found
        log_subrequest map map_hash_bucket_size map_hash_max_size max_headers max_ranges
        merge_slashes min_delete_depth mirror mirror_request_body modern_browser
        modern_browser_value mp4 mp4_buffer_size mp4_limit_rate mp4_limit_rate_after
        mp4_max_buffer_size mp4_start_key_frame msie_padding msie_refresh ntlm output_buffers
                override_charset pass port_in_redirect post_action postpone_gzipping postpone_output
        preread_buffer_size preread_timeout
        queue random random_index read_ahead real_ip_header real_ip_recursive recursive_error_pages
        referer_hash_bucket_size referer_hash_max_size request_pool_size reset_timedout_connection
        return rewrite rewrite_log root satisfy secure_link secure_link_md5 secure_link_secret
        send_lowat send_timeout sendfile sendfile_max_chunk server_name_in_redirect
        server_names_hash_bucket_size server_names_hash_max_size server_tokens set slice
                source_charset split_clients ssi ssi_ignore_recycled_buffers ssi_last_modified
        ssi_min_file_chunk ssi_silent_errors
        ssi_types ssi_value_length state sticky stub_status sub_filter sub_filter_last_modified
        sub_filter_once sub_filter_types subrequest_output_buffer_size tcp_nodelay tcp_nopush try_files
        types types_hash_bucket_size types_hash_max_size underscores_in_headers
        uninitialized_variable_warn upstream valid_referers variables_hash_bucket_size
        variables_hash_max_size xml_entities zone""",
    "auth_": "basic basic_user_file delay jwt jwt_key_file request request_set",
    "autoindex": "_exact_size _format _localtime",
    "client_": """body_buffer_size body_in_file_only body_in_single_buffer body_temp_path body_timeout
        header_buffer_size header_timeout max_body_size""",
    "dav_": "access methods",
    "geoip_": "city country org proxy proxy_recursive",
    "grpc_": """allow_upstream bind buffer_size connect_timeout hide_header ignore_headers intercept_errors
        next_upstream next_upstream_timeout next_upstream_tries pass pass_header read_timeout
        send_timeout set_header socket_keepalive ssl_certificate ssl_certificate_cache
        ssl_certificate_key ssl_ciphers ssl_conf_command ssl_crl ssl_name ssl_password_file
        ssl_protocols ssl_server_name ssl_session_reuse ssl_trusted_certificate ssl_verify
        ssl_verify_depth""",
    "gunzip": "_buffers",
    "gzip": """_buffers _comp_level _disable _hash _http_version _min_length _no_buffer _proxied _static
        _types _vary _window""",
    "http2": """_body_preread_size _chunk_size _idle_timeout _max_concurrent_pushes
                _max_concurrent_streams _pool_size _streams_index_size _max_field_size _max_header_size
        _max_requests _push _push_preload
        _recv_buffer_size _recv_timeout""",
    "http3": "_hq _max_concurrent_streams _stream_buffer_size",
    "keepalive": "_disable _min_timeout _requests _time _timeout",
    "limit_": """conn conn_dry_run conn_log_level conn_status conn_zone req req_dry_run req_log_level
        req_status req_zone""",
    "memcached_": """bind buffer_size connect_timeout gzip_flag next_upstream next_upstream_timeout
        next_upstream_tries pass read_timeout send_timeout socket_keepalive""",
    "open_": """file_cache file_cache_errors file_cache_events file_cache_min_uses file_cache_valid
        log_file_cache""",
    "perl": "_modules _require _set",
    "quic_": "active_connection_id_limit gso host_key retry",
    "ssl_": """alpn buffer_size early_data handshake_timeout ocsp ocsp_cache ocsp_responder preread
        reject_handshake stapling stapling_file stapling_responder stapling_verify""",
    "userid": "_domain _expires _flags _mark _name _p3p _path _service",
    "xslt_": "last_modified param string_param stylesheet types",
    "js_": "access body_filter content filter header_filter import path preload_object preread set var",
}

# What proxy_, fastcgi_, scgi_ and uwsgi_ share.
_UPSTREAM = """buffer_size buffering buffers busy_buffers_size cache cache_background_update
    cache_bypass cache_key cache_lock cache_lock_age cache_lock_timeout cache_max_range_offset cache_methods
    cache_min_uses cache_path cache_revalidate cache_use_stale cache_valid connect_timeout force_ranges
    hide_header ignore_client_abort ignore_headers intercept_errors limit_rate max_temp_file_size
    next_upstream next_upstream_timeout next_upstream_tries no_cache pass pass_header pass_request_body
    pass_request_headers read_timeout request_buffering send_timeout store
    store_access temp_file_write_size temp_path"""
_UPSTREAM_SSL = """ssl_certificate ssl_certificate_cache ssl_certificate_key ssl_ciphers ssl_conf_command
    ssl_crl ssl_name ssl_password_file ssl_protocols ssl_server_name ssl_session_reuse
    ssl_trusted_certificate ssl_verify ssl_verify_depth"""
_GROUPS |= {
    "fastcgi_": f"""{_UPSTREAM} bind catch_stderr index keep_conn param send_lowat socket_keepalive
        split_path_info""",
    "scgi_": f"{_UPSTREAM} bind param socket_keepalive",
    "uwsgi_": f"{_UPSTREAM} bind {_UPSTREAM_SSL} modifier1 modifier2 param socket_keepalive string",
    "proxy_": f"""{_UPSTREAM} allow_upstream cache_convert_head cookie_domain cookie_flags
        cookie_path download_rate half_close headers_hash_bucket_size headers_hash_max_size http_version
        method protocol_timeout redirect requests responses send_lowat session_drop set_body set_header
        ssl_alpn ssl_certificate_cache upload_rate""",
}


def _names() -> frozenset[str]:
    names = {prefix + rest for prefix, group in _GROUPS.items() for rest in group.split()}
    # prefixes that are directives themselves
    return frozenset(names | {"autoindex", "gunzip", "gzip", "http2", "http3", "keepalive", "perl", "userid"})


FOREIGN = _names()
