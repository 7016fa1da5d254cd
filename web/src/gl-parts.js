/** Buffers, textures, framebuffers and programs for gl.js, with the interface of regl. */

let made = 0; // every buffer and texture has a unique number

/** A buffer of floats, or of the indices of triangles; calling it replaces the content. */
export function createBuffer(gl, { elements = false, ...first } = {}) {
  const kind = elements ? gl.ELEMENT_ARRAY_BUFFER : gl.ARRAY_BUFFER;
  const buffer = (options) => {
    const data = typed(options.data ?? options.length / 4);
    gl.bindBuffer(kind, buffer.handle);
    gl.bufferData(kind, data, options.usage === "static" ? gl.STATIC_DRAW : gl.DYNAMIC_DRAW);
    buffer.type = data instanceof Uint32Array ? gl.UNSIGNED_INT : gl.UNSIGNED_SHORT;
    buffer.count = data.length;
    buffer.version++;
    return buffer;
  };
  const typed = (data) => {
    if (ArrayBuffer.isView(data)) return data;
    if (!elements) return new Float32Array(data);
    return data.some((index) => index > 65_535) ? new Uint32Array(data) : new Uint16Array(data);
  };
  Object.assign(buffer, {
    _reglType: elements ? "elements" : "buffer",
    id: ++made,
    version: 0,
    count: 0,
    handle: gl.createBuffer(),
    subdata(data, offset = 0) {
      gl.bindBuffer(kind, buffer.handle);
      gl.bufferSubData(kind, offset, typed(data));
      buffer.version++;
    },
    destroy: () => gl.deleteBuffer(buffer.handle),
  });
  return first.data || first.length ? buffer(first) : buffer;
}

/** An RGBA texture without interpolation.  data: Float32Array or Uint8Array, or null;  shape: [width, height, 4] */
export function createTexture(gl, { data = null, shape, type = "uint8" }) {
  const handle = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, handle);
  for (const [name, setting] of [
    [gl.TEXTURE_MIN_FILTER, gl.NEAREST],
    [gl.TEXTURE_MAG_FILTER, gl.NEAREST],
    [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE],
    [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE],
  ]) {
    gl.texParameteri(gl.TEXTURE_2D, name, setting);
  }
  const [width, height] = shape;
  const kind = type === "float" ? gl.FLOAT : gl.UNSIGNED_BYTE;
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, width, height, 0, gl.RGBA, kind, data);
  const destroy = () => gl.deleteTexture(handle);
  return { _reglType: "texture2d", id: ++made, version: 0, handle, width, height, destroy };
}

/** A texture to draw into: a given one, or a new one of the given size; it uses bytes if floats are not supported. */
export function createFramebuffer(gl, { width, height, float = false, texture: given, use }) {
  const framebuffer = { _reglType: "framebuffer", handle: gl.createFramebuffer(), texture: given };
  const attach = (texture) => {
    Object.assign(framebuffer, { texture, width: texture.width, height: texture.height });
    gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer.handle);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture.handle, 0);
    const complete = gl.checkFramebufferStatus(gl.FRAMEBUFFER) === gl.FRAMEBUFFER_COMPLETE;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    return complete;
  };
  framebuffer.resize = (newWidth, newHeight) => {
    if (framebuffer.texture?.width === newWidth && framebuffer.texture?.height === newHeight) return;
    framebuffer.texture?.destroy();
    const shape = [Math.max(1, newWidth), Math.max(1, newHeight), 4];
    if (!float || !attach(createTexture(gl, { shape, type: "float" }))) attach(createTexture(gl, { shape }));
  };
  framebuffer.use = (draw) => use(framebuffer, draw);
  framebuffer.destroy = () => gl.deleteFramebuffer(framebuffer.handle);
  if (given) attach(given);
  else framebuffer.resize(width, height);
  return framebuffer;
}

/** Compiles and links; lists attributes {name, location, size} and uniforms {name, set, isTexture}. */
export function linkProgram(gl, vert, frag) {
  const handle = gl.createProgram();
  for (const [kind, text] of [
    [gl.VERTEX_SHADER, vert],
    [gl.FRAGMENT_SHADER, frag],
  ]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(handle, shader);
  }
  gl.linkProgram(handle);
  if (!gl.getProgramParameter(handle, gl.LINK_STATUS)) throw new Error(`WebGL: ${gl.getProgramInfoLog(handle)}`);
  const list = (count, read) =>
    Array.from({ length: gl.getProgramParameter(handle, count) }, (_, at) => read.call(gl, handle, at));
  const sizes = { [gl.FLOAT]: 1, [gl.FLOAT_VEC2]: 2, [gl.FLOAT_VEC3]: 3, [gl.FLOAT_VEC4]: 4 };
  const attributes = list(gl.ACTIVE_ATTRIBUTES, gl.getActiveAttrib).map(({ name, type }) => {
    return { name, size: sizes[type], location: gl.getAttribLocation(handle, name) };
  });
  const uniforms = list(gl.ACTIVE_UNIFORMS, gl.getActiveUniform).map(({ name, type }) => {
    const set = setter(gl, type, gl.getUniformLocation(handle, name));
    return { name, set, isTexture: type === gl.SAMPLER_2D };
  });
  return { handle, attributes, uniforms };
}

function setter(gl, type, location) {
  const setters = {
    [gl.FLOAT]: (x) => gl.uniform1f(location, x),
    [gl.INT]: (x) => gl.uniform1i(location, x),
    [gl.SAMPLER_2D]: (x) => gl.uniform1i(location, x),
    [gl.FLOAT_VEC2]: (x) => gl.uniform2fv(location, x),
    [gl.FLOAT_VEC3]: (x) => gl.uniform3fv(location, x),
    [gl.FLOAT_VEC4]: (x) => gl.uniform4fv(location, x),
    [gl.FLOAT_MAT4]: (x) => gl.uniformMatrix4fv(location, false, x),
  };
  return setters[type];
}
