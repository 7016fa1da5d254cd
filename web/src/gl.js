/** The part of regl's interface that regl-scatterplot and regl-line use, on WebGL 1.
 *
 * regl generates code for every draw command and compiles it with `Function`. The page's Content-Security-Policy
 * forbids `eval`, so the bundle uses this file in place of regl. It omits depth and stencil tests (the map is flat) and
 * all other unused parts. It adds two features:
 *   cap     a function that limits the number of points that a command draws while the map moves
 *   layers  a drawing of very many points is cached as a picture until it changes, so that hovering and the lasso do
 *           not draw a million points in every frame
 */
import { createBuffer, createFramebuffer, createTexture, linkProgram } from "./gl-parts.js";

const LAYER_FROM = 50_000; // points
const FACTORS = {
  one: 1,
  "src alpha": 0x302,
  "one minus src alpha": 0x303,
};
const OVER = {
  enable: true,
  func: {
    srcRGB: "one",
    srcAlpha: "one",
    dstRGB: "one minus src alpha",
    dstAlpha: "one minus src alpha",
  },
};
const COMPOSITE = {
  vert: "attribute vec2 xy; void main() { gl_Position = vec4(xy, 0, 1); }",
  frag: `precision highp float; uniform vec2 size; uniform sampler2D layer;
    void main() { gl_FragColor = texture2D(layer, gl_FragCoord.xy / size); }`,
};

const isResource = (value) => value?._reglType !== undefined;
const value = (given, context, props) =>
  typeof given === "function" && !isResource(given) ? given(context, props) : given;

/** @param {{gl: WebGLRenderingContext}} options */
export default function createRegl({ gl }) {
  const programs = new Map();
  const enabled = new Set();
  let target = null; // the current framebuffer; null is the canvas
  let nth = 0; // number of commands that drew points in this frame

  const width = () => (target ? target.width : gl.drawingBufferWidth);
  const height = () => (target ? target.height : gl.drawingBufferHeight);

  function use(framebuffer, draw) {
    const before = target;
    const set = (to) => {
      target = to;
      gl.bindFramebuffer(gl.FRAMEBUFFER, to ? to.handle : null);
      gl.viewport(0, 0, width(), height());
    };
    set(framebuffer);
    draw();
    if (framebuffer) framebuffer.texture.version++;
    set(before);
  }

  function program(vert, frag) {
    const key = `${vert}\0${frag}`;
    if (!programs.has(key)) programs.set(key, linkProgram(gl, vert, frag));
    return programs.get(key);
  }

  function setUniforms(uniforms, values) {
    let unit = 0;
    for (const { name, set, isTexture } of uniforms) {
      const given = values[name];
      if (!isTexture) set(given);
      else {
        gl.activeTexture(gl.TEXTURE0 + unit);
        gl.bindTexture(gl.TEXTURE_2D, (given.texture ?? given).handle);
        set(unit++);
      }
    }
  }

  function setAttributes(attributes, buffers) {
    const wanted = new Set(attributes.map(({ location }) => location));
    for (const location of enabled) {
      if (!wanted.has(location)) gl.disableVertexAttribArray(location);
    }
    enabled.clear();
    for (const { name, location, size } of attributes) {
      const { buffer, offset = 0, stride = 0 } = buffers[name];
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer.handle);
      gl.enableVertexAttribArray(location);
      gl.vertexAttribPointer(location, buffers[name].size || size, gl.FLOAT, false, stride, offset);
      enabled.add(location);
    }
  }

  function setBlend(blend) {
    if (!blend?.enable) return gl.disable(gl.BLEND);
    const { srcRGB, dstRGB, srcAlpha, dstAlpha } = blend.func;
    gl.enable(gl.BLEND);
    gl.blendFuncSeparate(FACTORS[srcRGB], FACTORS[dstRGB], FACTORS[srcAlpha], FACTORS[dstAlpha]);
  }

  /** Attributes come as arrays of numbers, as {buffer, size, offset, stride}, or as a function that gives an array. */
  function attributeReader(given) {
    const buffer = createBuffer(gl, Array.isArray(given) ? { data: given } : {});
    if (Array.isArray(given)) return () => ({ buffer });
    if (typeof given !== "function") return (...at) => ({ ...given, buffer: value(given.buffer, ...at) });
    return (...at) => {
      buffer({ data: given(...at).flat() });
      return { buffer };
    };
  }

  function draw(own, run) {
    const { description, linked } = own;
    gl.useProgram(linked.handle);
    setUniforms(linked.uniforms, run.values);
    setAttributes(linked.attributes, run.buffers);
    setBlend(description.blend);
    if (run.elements) {
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, run.elements.handle);
      gl.drawElements(gl.TRIANGLES, run.elements.count, run.elements.type, 0);
    } else {
      gl.drawArrays(description.primitive === "points" ? gl.POINTS : gl.TRIANGLES, 0, run.count);
    }
  }

  /** The inputs of a drawing as a flat list; equal lists give equal pictures. */
  function fingerprint(linked, run) {
    const found = [width(), height(), run.count];
    for (const { name } of linked.attributes) found.push(run.buffers[name].buffer.id, run.buffers[name].buffer.version);
    for (const { name, isTexture } of linked.uniforms) {
      const given = run.values[name];
      if (isTexture) found.push((given.texture ?? given).id, (given.texture ?? given).version);
      else if (typeof given === "number") found.push(given);
      else found.push(...given);
    }
    return found;
  }

  function drawByLayer(own, run) {
    const key = fingerprint(own.linked, run);
    own.layer ??= createFramebuffer(gl, { width: width(), height: height(), float: true, use });
    const size = [width(), height()];
    if (!own.key || own.key.some((part, at) => part !== key[at])) {
      own.layer.resize(...size);
      use(own.layer, () => {
        gl.clearColor(0, 0, 0, 0);
        gl.clear(gl.COLOR_BUFFER_BIT);
        draw(own, run);
      });
      own.key = key;
    }
    composite({ layer: own.layer, size });
  }

  function command(description) {
    const own = { description, linked: program(description.vert, description.frag) };
    const attributes = Object.entries(description.attributes).map(([name, given]) => [name, attributeReader(given)]);
    const ownElements = createBuffer(gl, { elements: true });

    return (props = {}) => {
      const context = {
        viewportWidth: width(),
        viewportHeight: height(),
        drawingBufferWidth: gl.drawingBufferWidth,
        drawingBufferHeight: gl.drawingBufferHeight,
        pixelRatio: window.devicePixelRatio,
      };
      const run = { count: value(description.count, context, props), values: {}, buffers: {} };
      for (const { name } of own.linked.uniforms) run.values[name] = value(description.uniforms[name], context, props);
      for (const [name, read] of attributes) run.buffers[name] = read(context, props);
      if (description.elements) {
        const given = value(description.elements, context, props);
        if (!isResource(given)) ownElements({ data: given });
        run.elements = isResource(given) ? given : ownElements;
      }
      const into = value(description.framebuffer, context, props);
      if (into) return use(into, () => draw(own, run));
      if (description.primitive !== "points") return draw(own, run);
      run.count = regl.cap(run.count, nth);
      if (nth++ === 0) regl.drawn = run.count;
      if (run.count > LAYER_FROM) drawByLayer(own, run);
      else draw(own, run);
    };
  }

  const regl = (description) => command(description);
  Object.assign(regl, {
    cap: (count) => count,
    drawn: 0, // number of points of the first command of this frame that draws points
    buffer: (options) => createBuffer(gl, options),
    elements: (options) => createBuffer(gl, { ...options, elements: true }),
    texture: (options) => createTexture(gl, options),
    framebuffer: (options) =>
      createFramebuffer(gl, { ...options, texture: options.color, float: options.colorType === "float", use }),
    hasExtension: (name) => gl.getExtension(name) !== null,
    poll: () => {},
    clear({ color }) {
      if (!target) regl.drawn = nth = 0; // the renderer clears the canvas once, before anything else of a frame
      gl.clearColor(...color);
      gl.clear(gl.COLOR_BUFFER_BIT);
    },
    /** Calls `draw` before every repaint of the browser. */
    frame(draw) {
      let handle = requestAnimationFrame(function again() {
        handle = requestAnimationFrame(again);
        draw();
      });
      return { cancel: () => cancelAnimationFrame(handle) };
    },
    /** Waits until all previous commands are drawn. */
    finish: () => gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4)),
    destroy: () => gl.getExtension("WEBGL_lose_context")?.loseContext(),
  });
  const composite = command({
    ...COMPOSITE,
    blend: OVER,
    attributes: { xy: [-4, -4, 4, -4, 0, 4] },
    uniforms: { layer: (_, props) => props.layer, size: (_, props) => props.size },
    count: 3,
  });
  return regl;
}
